"""What SIGINT, SIGTERM and SIGHUP do to a command."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Handles the signals while its `with` block runs.

    A signal cancels the task that entered the block, so that whatever it awaits is left in good order; `redirect`
    gives signals another meaning.
    """

    def __init__(self) -> None:
        self.last: signal.Signals | None = None
        """The latest signal, if there was one."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("signals are handled for a task")
        self._act: Callable[[signal.Signals], object] = lambda _signal: task.cancel()

    def redirect(self, act: Callable[[signal.Signals], object]) -> None:
        """From now on a signal calls `act`."""
        self._act = act

    def __enter__(self) -> Self:
        for number in HANDLED:
            self._loop.add_signal_handler(number, self._handle, number)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number in HANDLED:
            self._loop.remove_signal_handler(number)

    def _handle(self, number: signal.Signals) -> None:
        self.last = number
        self._act(number)
