"""An event loop in which waiting takes no time.

When nothing is ready, the clock jumps to the next timer. TTLs, graces and timeouts of minutes pass at once, in the
exact order in which they are due, and a test that would wait for ever fails instead.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_000.0
"""What the clock shows first, in seconds; anything but zero, which code could take for unset."""
INSTANT = 1e-6
"""Seconds; short for everything that has a duration."""


class _Jump(selectors.DefaultSelector):
    """Lets the clock jump where another selector would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits and no timer is set: this would last for ever")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs without a network: nothing but its own timers and callbacks makes it go on."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """The virtual clock, in seconds."""
        return self._jump.now

    def settle(self) -> None:
        """Run everything that is ready, and what that makes ready, until only timers are left."""
        self.advance(INSTANT)

    def advance(self, seconds: float) -> None:
        """Run everything that happens within that time. The clock jumps only when nothing is ready."""
        self.run_until_complete(asyncio.sleep(seconds))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
