"""The processes of the traffic, started, killed, frozen and stopped from outside.

Whatever ends a client is written down first: from that moment on it believes in nothing.
"""

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

from tests.robustness.history import Died, Notebook, now
from tests.robustness.traffic.client import DIED_CODE, STOP_SECONDS, Plan, clock_path
from tests.robustness.traffic.wall_clock import ClockOffset
from tests.support.processes import ChildProcess, accepts_connections, free_port
from tests.support.waiting import eventually

START_SECONDS = 20.0

PLANNED_ENDS = (-signal.SIGKILL, DIED_CODE)
"""Exit codes of clients that were killed, or left without a word."""


class TrafficError(Exception):
    """A process of the traffic ended in a way that nobody asked it to; the message has its log."""


class Client:
    """One client process after the other, under one plan; each has a name and a file of its own.

    Steps of one client come one after the other, and may meet any state; none blocks the event loop. Start it from the
    main thread (see `ChildProcess`).
    """

    def __init__(self, plan: Plan, notebook: Notebook) -> None:
        self._plan = plan
        self._notebook = notebook
        self._lives = itertools.count(1)
        self._step = asyncio.Lock()
        self.name = plan.name
        """Of the process that runs, or ran last."""
        self.process = self._next()

    def _next(self) -> ChildProcess:
        life = next(self._lives)
        plan = replace(self._plan, name=f"{self._plan.name}-{life}", seed=self._plan.seed + life)
        self.name = plan.name
        self._clock = ClockOffset(clock_path(plan))
        options = json.dumps({**asdict(plan), "directory": str(plan.directory), "servers": list(plan.servers)})
        return ChildProcess(
            [sys.executable, "-m", "tests.robustness.traffic", "client", options],
            log=plan.directory / f"{plan.name}.log",
        )

    async def start(self) -> None:
        """Start a process, unless one runs.

        Raises TrafficError when the one before ended by itself, and not as planned.
        """
        async with self._step:
            if self.process.running:
                return
            if self.process.log.exists():
                self._check(PLANNED_ENDS)
                self.process = self._next()
            self.process.start()

    async def kill(self) -> None:
        """SIGKILL it; `start` begins another in its place."""
        async with self._step:
            if self.process.running:
                self._notebook.write(Died(now(), self.name))
                await asyncio.to_thread(self.process.kill)

    async def freeze(self) -> None:
        """SIGSTOP it."""
        async with self._step:
            if self.process.running:
                await asyncio.to_thread(self.process.freeze)

    async def thaw(self) -> None:
        """SIGCONT it."""
        async with self._step:
            if self.process.running:
                self.process.thaw()

    def step_clock(self, seconds: float) -> None:
        """Set its wall clock on by so much, or back if it is negative; whether it runs or not."""
        self._clock.step(seconds)

    async def stop(self) -> None:
        """Tell it to close in good order, and wait until it has.

        Raises TrafficError when it cannot, or has met something unexpected.
        """
        await self.thaw()
        async with self._step:
            if self.process.running:
                # Before it has begun, it cannot be told anything: SIGTERM would just end it.
                begun = f"{self.name} has begun"
                await eventually(lambda: self._begun or not self.process.running, begun, timeout=START_SECONDS)
                self.process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.to_thread(self.process.wait, STOP_SECONDS)
                except TimeoutError:
                    raise TrafficError(f"{self.name} does not stop\n{self.process.log_text()}") from None
            self._check((0, *PLANNED_ENDS))

    @property
    def _begun(self) -> bool:
        """Whether the process has recorded anything."""
        record = self._plan.directory / f"{self.name}.jsonl"
        return record.exists() and record.stat().st_size > 0

    def _check(self, planned: Sequence[int]) -> None:
        if self.process.returncode not in planned:
            log = self.process.log_text()
            raise TrafficError(f"{self.name} ended with {self.process.returncode}\n{log}")


class Fleet:
    """All client processes of a run and the registers. `async with` starts them; `stop` ends them in good order.

    Args:
        directory: where everything is recorded and logged.
        plans: one for each client; folder and registers are filled in.
    """

    def __init__(self, directory: Path, plans: Sequence[Plan]) -> None:
        self._notebook = Notebook(directory, "fleet")
        self._port = free_port()
        options = json.dumps({"directory": str(directory), "port": self._port})
        self._registers = ChildProcess(
            [sys.executable, "-m", "tests.robustness.traffic", "registers", options], log=directory / "registers.log"
        )
        self.clients = [
            Client(replace(plan, directory=directory, registers=self._port), self._notebook) for plan in plans
        ]

    async def __aenter__(self) -> Self:
        self._registers.start()
        await eventually(lambda: accepts_connections(self._port), "the registers serve", timeout=START_SECONDS)
        for client in self.clients:
            await client.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for client in self.clients:
            await client.kill()
        await asyncio.to_thread(self._registers.stop)
        self._notebook.__exit__()

    async def stop(self) -> None:
        """Tell all clients to close in good order, and wait until they have. Raises TrafficError."""
        await asyncio.gather(*(client.stop() for client in self.clients))
