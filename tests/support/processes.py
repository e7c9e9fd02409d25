"""Child processes that tests start, freeze, kill and restart.

Everything here is synchronous and bounded in time. A child is addressed through its own `Popen`
only, so nothing that this process did not start is ever signalled.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

LOOPBACK = "127.0.0.1"

# Below Linux's default range for outgoing connections (32768 and up): a port of a server that is
# down for a moment cannot be taken by somebody's connection before the server is back.
_PORTS = range(20_000, 32_000)
_POLL_SECONDS = 0.01
_LAUNCHER = Path(__file__).with_name("die_with_parent.py")
_handed_out: set[int] = set()


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on, never given out twice here."""
    for port in random.sample(_PORTS, 1_000):
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise OSError("no free TCP port found")


def wait_until(condition: Callable[[], bool], *, timeout: float, what: str) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        TimeoutError: it was not within `timeout` seconds; `what` names the thing awaited.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(_POLL_SECONDS)


def accepts_connections(port: int) -> bool:
    """Whether something on the loopback interface accepts TCP connections at `port`."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


class ProcessEndedError(Exception):
    """A child ended while it was expected to run. The message carries the end of its log."""


class ChildProcess:
    """A command as a child process that cannot outlive this process.

    The kernel ties a child to the *thread* that started it: call `start` from a thread that lives
    as long as the child should, usually the main thread.

    After `stop` or `kill` it can be started again; the log is appended to. As a context manager it
    starts on entry and stops on exit.

    Args:
        command: the program and its arguments.
        log: a file that standard error is appended to, and standard output unless `output` is set.
        output: a file that gets standard output alone, emptied at each start.
        env: the whole environment; None means this process's.
        cwd: the working directory; None means this process's.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        output: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.command = tuple(command)
        self.log = log
        self.output = output
        self._env = env
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None
        self._frozen = False

    def __repr__(self) -> str:
        state = "frozen" if self._frozen else "running" if self.running else "down"
        return f"<{type(self).__name__} {Path(self.command[0]).name} {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self._started.pid

    @property
    def running(self) -> bool:
        """Whether the process exists; a frozen one does."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that ended it, or None while it runs."""
        return self._started.poll()

    def log_text(self) -> str:
        """What the child has logged so far, over all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def output_lines(self) -> list[str]:
        """The whole lines on standard output since the last start; only with `output`."""
        if self.output is None:
            raise RuntimeError(f"{self!r} was made without an output file")
        return [line for line in self.output.read_text().splitlines(True) if line.endswith("\n")]

    def start(self) -> None:
        """Start the command. Returns at once: wait for readiness with `wait_until`."""
        if self.running:
            raise RuntimeError(f"{self!r} is running already")
        with ExitStack() as files:
            log = files.enter_context(self.log.open("ab"))
            output = files.enter_context(self.output.open("wb")) if self.output else log
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C on the terminal is for the tests, not for servers
            )
        self._frozen = False

    def wait_until(self, condition: Callable[[], bool], *, timeout: float, what: str) -> None:
        """Return as soon as `condition()` is true.

        Raises:
            ProcessEndedError: the process ended before that.
            TimeoutError: neither happened within `timeout` seconds.
        """

        def met() -> bool:
            if not self.running:
                raise ProcessEndedError(f"{self!r} ended with {self.returncode}\n{self._log_tail()}")
            return condition()

        try:
            wait_until(met, timeout=timeout, what=what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self._log_tail()}") from None

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit code; TimeoutError after `timeout` seconds."""
        try:
            return self._started.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self!r} did not end within {timeout:g} s") from None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        self._started.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP: the process exists, its connections stay open, and it does nothing."""
        self.send_signal(signal.SIGSTOP)
        if self.running:
            # A signal is delivered a little later: wait until the process has stopped (or died).
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._frozen = self.running

    def thaw(self) -> None:
        """SIGCONT: undo `freeze`."""
        self.send_signal(signal.SIGCONT)
        self._frozen = False

    def kill(self) -> None:
        """SIGKILL, like a crash, and wait for the end. Nothing happens when it is not running."""
        if self._popen is None:
            return
        self._popen.kill()
        self._popen.wait()
        self._frozen = False

    def stop(self, timeout: float = 10.0) -> None:
        """SIGTERM and wait for the end; SIGKILL after `timeout` seconds. Thaws it if need be."""
        if self._popen is None:
            return
        if self.running:
            self._popen.terminate()
            self.thaw()
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def _started(self) -> "subprocess.Popen[bytes]":
        if self._popen is None:
            raise RuntimeError(f"{self!r} has not been started")
        return self._popen

    def _log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])
