"""One client process: sessions that come and go, workers that share them, until told to stop."""

import asyncio
import os
import random
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import lockstream
from tests.robustness.history import ABANDONED, Died, Finished, Notebook, now
from tests.robustness.traffic.errands import ERRANDS, Errand, Worker
from tests.robustness.traffic.library import LibrarySession
from tests.robustness.traffic.library_errands import LibraryErrands
from tests.robustness.traffic.recorded import Ledger, RecordedSession
from tests.robustness.traffic.register import RegisterClient
from tests.robustness.traffic.sessions import LockSession, Refused
from tests.robustness.traffic.stub_session import StubSession
from tests.robustness.traffic.wall_clock import ClockOffset, wall_clock
from tests.support.tasks import tasks_left

PAUSE_SECONDS = 0.2
"""After a session could not be opened."""
DIED_CODE = 70
"""With which a process ends that leaves without a word."""
STOP_SECONDS = 15.0
"""In which sessions close once the process was told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a client process is told. Everything it does follows from this and from what it is answered."""

    name: str
    kind: str
    """`library` or `stubs`."""
    servers: Sequence[str]
    seed: int
    directory: Path = Path()
    registers: int = 0
    """The port of the registers."""
    sessions: int = 3
    workers: int = 3
    """Of each session."""
    ttl: float = 4.0
    errands: int = 30
    """That each worker does before its session ends."""
    short_grace: float = 0.0
    """The share of sessions with a grace shorter than their TTL."""
    die: float = 0.0
    """How likely the process ends without a word when a session ends."""


class ClientProcess:
    """What runs in the process."""

    def __init__(self, plan: Plan, notebook: Notebook) -> None:
        self._plan = plan
        self._ledger = Ledger(notebook)
        self._registers = RegisterClient(plan.registers)
        self._library: lockstream.Client | None = None
        self._errands: Mapping[Errand, int] = ERRANDS

    async def run(self) -> None:
        """Run until SIGTERM, then close in good order."""
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        plan = self._plan
        async with AsyncExitStack() as stack:
            stack.callback(self._registers.close)
            background = [asyncio.ensure_future(self._ledger.watch_the_clock())]
            if plan.kind == "library":
                target = f"lockstream://{','.join(plan.servers)}?name={plan.name}"
                self._library = await stack.enter_async_context(lockstream.connect(target, ttl=plan.ttl))
                errands = LibraryErrands(self._library, self._ledger)
                self._errands = errands.all()
                background.append(asyncio.ensure_future(errands.watch()))
            tasks = [asyncio.ensure_future(self._sessions(number)) for number in range(plan.sessions)]
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait([stopped, *tasks, *background], return_when=asyncio.FIRST_COMPLETED)
            # The clock is watched to the end: sessions are believed in until they are closed.
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for task in background:
                task.cancel()
            outcomes += await asyncio.gather(*background, return_exceptions=True)
            stopped.cancel()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome  # a defect of the traffic, or an error that no client expects

    async def _sessions(self, number: int) -> None:
        """One session after the other."""
        rng = random.Random(f"{self._plan.seed}/{self._plan.name}/{number}")
        while True:
            session = RecordedSession(self._session(rng), self._ledger)
            try:
                async with session.opened():
                    await self._use(session, rng)
            except Refused:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _use(self, session: RecordedSession, rng: random.Random) -> None:
        """Use a session for a while, and perhaps leave it without a word in the midst of everything."""
        workers = [
            Worker(session, self._registers, random.Random(rng.random()), f"{self._plan.name}/{rng.getrandbits(40):x}")
            for _ in range(self._plan.workers)
        ]
        tasks = [asyncio.ensure_future(self._work(worker)) for worker in workers]
        try:
            if rng.random() < 0.6:
                await asyncio.gather(*tasks)
                return
            await asyncio.wait(tasks, timeout=rng.uniform(0, 2.0))
            if rng.random() < self._plan.die:
                self._die()
            if isinstance(session.inner, StubSession) and rng.random() < 0.5:
                session.disbelieve_all(ABANDONED)
                await session.inner.abandon()
        finally:
            session.disbelieve_all("close")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, worker: Worker) -> None:
        for _ in range(self._plan.errands):
            if worker.session.ended:
                return
            with suppress(Refused):
                await worker.run(self._errands)

    def _session(self, rng: random.Random) -> LockSession:
        plan = self._plan
        grace = rng.choice([0.0, 0.5, 1.0]) if rng.random() < plan.short_grace else None
        if self._library is not None:
            return LibrarySession(self._library, ttl=plan.ttl, grace=grace)
        return StubSession(plan.servers, rng, ttl=plan.ttl, grace=grace)

    def _die(self) -> None:
        """End as a crash does."""
        self._ledger.notebook.write(Died(now(), self._plan.name))
        os._exit(DIED_CODE)


async def run(plan: Plan) -> None:
    """Run a client process until SIGTERM."""
    with (
        wall_clock(ClockOffset(clock_path(plan))),
        Notebook(plan.directory, plan.name) as notebook,
    ):
        await ClientProcess(plan, notebook).run()
        notebook.write(Finished(now(), await tasks_left()))


def clock_path(plan: Plan) -> Path:
    """The file with the offset of the process's wall clock."""
    return plan.directory / f"{plan.name}.clock"
