"""`make demo`: workers take turns on a lock of a real server; one is killed, one is frozen.

Everything runs on this machine, on a free port, and is gone when the demo ends, however it ends.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rich.console import Console

import lockstream

LOCK = "demo/printer"
TTL_SECONDS = 2.0
GRACE_SECONDS = 0.5
WORK_SECONDS = 0.4
PATIENCE_SECONDS = 15.0
"""Within this time the next thing has happened, or the demo gives up."""
COLOURS = {"alice": "cyan", "bob": "magenta", "carol": "yellow"}

console = Console(highlight=False, soft_wrap=True)


class Happening(NamedTuple):
    """Something a worker told, and when by this process's clock."""

    moment: float
    worker: str
    event: str
    token: int
    reason: str


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Stage:
    """The child processes, and what the workers tell."""

    def __init__(self, directory: Path) -> None:
        self.target = f"127.0.0.1:{_free_port()}"
        self.log = directory / "lockstreamd.log"
        self._processes: dict[str, Process] = {}
        self._happenings: asyncio.Queue[Happening] = asyncio.Queue()
        self._listeners: list[asyncio.Task[None]] = []

    async def start_server(self) -> None:
        """Start `lockstreamd --dev` and wait until it serves."""
        with self.log.open("wb") as log:
            command = (sys.executable, "-m", "lockstream_server", "--dev", f"--listen={self.target}")
            server = self._processes["lockstreamd"] = await _spawn(command, output=log)
        async with lockstream.connect(self.target, connect_timeout=PATIENCE_SECONDS) as client:
            serving = asyncio.ensure_future(client.list_locks())
            ended = asyncio.ensure_future(server.wait())
            await asyncio.wait((serving, ended), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not serving.done():
                serving.cancel()
                raise DemoError(f"lockstreamd ended with code {server.returncode}:\n{self.log.read_text()}")
            serving.result()

    async def start_worker(self, name: str) -> None:
        """Start a worker of this name."""
        process = await _spawn((sys.executable, "-m", "deploy.demo", "worker", self.target, name), output=PIPE)
        self._processes[name] = process
        self._listeners.append(asyncio.ensure_future(self._listen(name, process)))

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a child, if it is there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._processes[name].pid, number)

    async def next(self, event: str, *, by: str | None = None) -> Happening:
        """The next event of this kind, by this worker or any; DemoError when it takes too long."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    happening = await self._happenings.get()
                    if happening.event == event and by in (None, happening.worker):
                        return happening
        except TimeoutError:
            raise DemoError(
                f"no {event!r} within {PATIENCE_SECONDS:g} s; the server's log:\n{self.log.read_text()}"
            ) from None

    async def clear(self) -> None:
        """End every child; the server in good order, because it has an etcd to stop."""
        for name in self._processes:
            self.signal(name, signal.SIGTERM if name == "lockstreamd" else signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in self._processes.values()), *self._listeners)

    async def _listen(self, name: str, process: Process) -> None:
        if process.stdout is None:
            raise RuntimeError("the worker was started without a pipe")
        async for line in process.stdout:
            self._happenings.put_nowait(Happening(time.monotonic(), name, **json.loads(line)))


async def play(stage: Stage) -> None:
    """The demo, act by act."""
    console.print("[bold]1. A server[/]: lockstreamd --dev, which brings an etcd of its own")
    await stage.start_server()
    console.print(f"   serving on {stage.target}\n")

    console.print(f"[bold]2. Three workers take turns[/] on the lock '{LOCK}'; its fencing token only grows")
    for name in COLOURS:
        await stage.start_worker(name)
    for _ in range(6):
        _tell(await stage.next("granted"))

    killed = await stage.next("granted")
    stage.signal(killed.worker, signal.SIGKILL)
    _tell(killed)
    console.print("\n[bold]3. It is killed[/] (SIGKILL) while it holds the lock")
    successor = await _next_by_another(stage, killed)
    _tell(successor)
    console.print(
        f"   handed over {successor.moment - killed.moment:.2f} s after the kill:"
        f" its session was kept {GRACE_SECONDS:g} s, in case it came back\n"
    )

    frozen = await stage.next("granted")
    stage.signal(frozen.worker, signal.SIGSTOP)
    console.print("[bold]4. Another one freezes[/] (SIGSTOP) while it holds the lock")
    _tell(frozen)
    successor = await _next_by_another(stage, frozen)
    _tell(successor)
    console.print(
        f"   handed over {successor.moment - frozen.moment:.2f} s later:"
        f" no heartbeat came for its TTL of {TTL_SECONDS:g} s\n"
    )

    stage.signal(frozen.worker, signal.SIGCONT)
    console.print("[bold]5. It wakes up[/] (SIGCONT) and is told before it can do harm")
    loss = await stage.next("lost", by=frozen.worker)
    console.print(
        f"   {_coloured(loss.worker)} LockLost: {loss.reason}; a write with its token {loss.token} would be refused,"
        f" as {successor.token} has been seen\n"
    )


async def _next_by_another(stage: Stage, gone: Happening) -> Happening:
    while (happening := await stage.next("granted")).worker == gone.worker:
        pass
    return happening


def _tell(happening: Happening) -> None:
    console.print(f"   {_coloured(happening.worker)} holds it, token {happening.token}")


def _coloured(worker: str) -> str:
    return f"[{COLOURS[worker]}]{worker:5}[/]"


NEXT = """[bold]All of it is stopped again.[/] Now try it yourself, beginning with a server in a terminal of its own:

   .venv/bin/lockstreamd --dev
   .venv/bin/lockstream run hello -- sh -c 'echo "token $LOCKSTREAM_TOKEN"; sleep 30'
   .venv/bin/lockstream show hello
   .venv/bin/grpcurl -plaintext -d '{"name": "hello"}' localhost:7420 lockstream.v1.LockService/GetLock

README.md goes on from here."""


async def work(target: str, name: str) -> None:
    """A worker: holds the lock for a moment, again and again, and tells what happens to it."""
    async with lockstream.connect(target, name=name, ttl=TTL_SECONDS, grace=GRACE_SECONDS) as client:
        while True:
            try:
                async with client.lock(LOCK) as lock:
                    _report("granted", lock.token)
                    await asyncio.sleep(WORK_SECONDS)
            except lockstream.LockLost as loss:
                _report("lost", loss.token, loss.reason.name)


def _report(event: str, token: int, reason: str = "") -> None:
    print(json.dumps({"event": event, "token": token, "reason": reason}), flush=True)


async def _spawn(command: Sequence[str], *, output: BinaryIO | int) -> Process:
    """Start a child that leads a process group and does not outlive this process."""
    tether = str(files("lockstream_server").joinpath("die_with_parent.py"))
    mode = "kernel" if sys.platform == "linux" else "pipe"
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", tether, mode, str(os.getpid())),
        *command,
        stdin=PIPE,
        stdout=output,
        stderr=output if not isinstance(output, int) else None,
        # What the user has set for servers of their own is not for this one.
        env={name: value for name, value in os.environ.items() if not name.startswith("LOCKSTREAM_")},
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run() -> None:
    """Play the demo on a stage that is cleared afterwards."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with tempfile.TemporaryDirectory(prefix="lockstream-demo-") as directory:
        stage = Stage(Path(directory))
        try:
            await play(stage)
        finally:
            await stage.clear()
    console.print(NEXT, markup=True)


def main() -> int:
    """Run the demo, or one of its workers, and return the exit code."""
    try:
        if sys.argv[1:2] == ["worker"]:
            asyncio.run(work(*sys.argv[2:]))
        else:
            asyncio.run(run())
    except (DemoError, lockstream.LockstreamError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
