"""The command that `lockstream run` runs: a process group of its own, tied to this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from lockstream.cli import exits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_TETHER = Path(__file__).with_name("tether.py")
_POLL_SECONDS = 0.02


class Command:
    """A running command.

    Start it with `start`, from the main thread: the kernel ties it to the thread that starts it.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.ended = asyncio.ensure_future(process.wait())
        """Done when the command has ended."""

    @classmethod
    async def start(cls, command: Sequence[str], variables: Mapping[str, str]) -> Self:
        """Start a command with these variables added to the environment."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_TETHER), str(os.getpid())),
            *command,
            env={**os.environ, **variables},
            process_group=0,
        )
        return cls(process)

    @property
    def exit_code(self) -> int:
        """Its exit code as shells have it: 128 plus the signal's number when a signal ended it."""
        code = self.ended.result()
        return code if code >= 0 else exits.SIGNALLED - code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command and all that it started, or say why it cannot be sent."""
        try:
            self._send(number)
        except PermissionError:
            exits.say(f"{number.name} cannot be sent to the command: it runs as another user")

    async def stop(self, kill_after: float) -> None:
        """End all of it: SIGTERM, and SIGKILL to what is left of it after `kill_after` seconds.

        Raises PermissionError when all that is left of it runs as another user, as after `sudo`.
        """
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)  # a stopped process hears nothing else
        try:
            async with asyncio.timeout(kill_after):
                await asyncio.shield(self.ended)
                while self._send(0):  # noqa: ASYNC110 - the end of a process that is not a child cannot be awaited
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            self._send(signal.SIGKILL)
            while self._send(0) and not self.ended.done():  # noqa: ASYNC110 - what cannot be killed is not awaited
                await asyncio.sleep(_POLL_SECONDS)
            await self.ended

    def _send(self, number: int) -> bool:
        """As the kernel does it. False when nothing of it is left. Signal 0 only asks."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True

    @contextlib.contextmanager
    def on_terminal(self) -> Iterator[None]:
        """Give the command the terminal, as a shell does, if it is this process's to give.

        The command can then read from it, and is what Ctrl-C interrupts.
        """
        terminal = sys.__stdin__
        if terminal is None or not _is_ours(terminal):
            yield
            return
        with contextlib.suppress(OSError):  # it has ended already
            os.tcsetpgrp(terminal.fileno(), self._process.pid)
        with contextlib.suppress(PermissionError):
            self._send(signal.SIGCONT)  # it may have been stopped for reading too early
        try:
            yield
        finally:
            # Taking it back from the background would stop this process otherwise.
            before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            with contextlib.suppress(OSError):  # it was closed meanwhile
                os.tcsetpgrp(terminal.fileno(), os.getpgrp())
            signal.signal(signal.SIGTTOU, before)


def _is_ours(file: TextIO) -> bool:
    """Whether it is the terminal that controls this process, which is in its foreground."""
    try:
        return file.isatty() and os.tcgetpgrp(file.fileno()) == os.getpgrp()
    except OSError:  # a terminal, but that of another session, as after `setsid`
        return False
