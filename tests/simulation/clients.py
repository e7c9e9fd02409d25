"""A client of the simulated world: the real library in a process that may be frozen or killed at any step."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import lockstream
from lockstream import LockstreamError
from lockstream._client import Client
from lockstream._options import Options
from tests.simulation.beliefs import Belief, Beliefs
from tests.simulation.calls import Host, SimulatedChannels
from tests.simulation.network import Network
from tests.simulation.processes import Process
from tests.simulation.workload import Worker

if TYPE_CHECKING:
    from lockstream import LossReason

SLACK = 10.0
"""Seconds that several attempts to reach etcd may take, one after the other."""
CALM_SLACK = 2.0
"""Seconds that an answer takes at the most when nothing goes wrong."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the clients of one world behave."""

    workers: int
    idle: float
    """Seconds between two acquires, at the most."""
    hold: float
    """Seconds that a lock is held for, at the most, between two things done with it."""
    patience: float
    """Seconds until somebody impatient gives up, at the most."""
    nesting: int
    """How many names a worker holds at a time, at the most."""
    sharing: float
    """Probability that an acquire is shared."""
    delays: float
    """Probability that it asks for a lock delay."""
    limits: float
    """Probability that it states a longest hold."""
    closing: float
    """Seconds after which a session is closed, whatever its workers do; 0 for never."""


class ClientProcess:
    """One place where a client runs, dies and is started again with nothing in memory."""

    def __init__(
        self,
        name: str,
        network: Network,
        hosts: dict[str, Host],
        beliefs: Beliefs,
        names: tuple[str, ...],
        habits: Habits,
        options: Options,
        *,
        calm: bool,
    ) -> None:
        """`calm` tells whether nothing goes wrong in this world."""
        self.name = name
        self.names = names
        self.habits = habits
        self.random: Random = network.random
        self.excused = options.grace is not None
        self.stopping = False
        self.outcomes: Counter[str] = Counter()
        self._network = network
        self._hosts = hosts
        self._beliefs = beliefs
        self._options = options
        self._calm = calm
        self._starts = 0
        self._lost: dict[int, lockstream.Lock] = {}
        self.start()

    def __repr__(self) -> str:
        return f"{self.process}: {[worker.doing for worker in self.workers]} {self.main}"

    def start(self) -> None:
        """Start a process that knows nothing."""
        self._starts += 1
        self.running = True
        self.workers: list[Worker] = []
        self._believed: dict[Belief, None] = {}
        self._thawed_at = 0.0
        epoch = 1e6 * self._starts + self.random.randrange(1_000_000)
        self.process = Process(self._network.scheduler, f"{self.name}.{self._starts}", epoch)
        self.process.after_step = self._look
        self.main = self.process.create_task(self._run())
        self.note("starts")

    def kill(self, *, silently: bool) -> None:
        """End the process at once. Its system tells the servers, unless it died as well."""
        if not self.running:
            return
        self.note("is killed" + (" silently" if silently else ""))
        self.running = False
        for call in [*self._network.calls]:
            if call.client is self.process:
                call.died(self.process, silently=silently)
        for belief in [*self._believed]:
            self.drop(belief)
        self.process.kill()

    def start_again(self) -> None:
        """Start it, if it does not run."""
        if not self.running:
            self.start()

    def freeze(self, *, suspended: bool = False) -> None:
        """Run nothing until `thaw`. It may go on to believe what its clock lets it believe.

        With its machine `suspended`, that clock stands still as well.
        """
        self.note("is suspended" if suspended else "freezes")
        if suspended:
            self.process.suspend()
        else:
            self.process.freeze()

    def thaw(self) -> None:
        """Go on."""
        self.note("thaws")
        self._thawed_at = self.process.time()
        self.process.thaw(arrivals_first=self.random.random() < 0.5)

    async def _run(self) -> None:
        loop = self.process
        channels = SimulatedChannels(self._network, loop, self._hosts)
        client = Client(channels, self._options, None)
        while not self.stopping:
            session = client.session()
            try:
                await session.open()
            except LockstreamError as error:
                self.note(f"cannot open a session: {error!r}")
                await asyncio.sleep(0.2)
                continue
            self.workers = [Worker(self, session, number) for number in range(self.habits.workers)]
            tasks = [loop.create_task(worker.run()) for worker in self.workers]
            closes = self.random.random() * self.habits.closing if self.habits.closing else None
            await asyncio.wait(tasks, timeout=closes)
            await self._close(session)
            await asyncio.wait(tasks)
            for task in tasks:
                task.result()
            self.workers = []
        await channels.close()

    async def _close(self, session: lockstream.Session) -> None:
        self.note(f"closes {session}")
        await session.__aexit__(None, None, None)

    # What its workers tell.

    def believe(self, belief: Belief) -> None:
        """A worker was handed a lock, or its lock became exclusive."""
        self._believed[belief] = None
        self._beliefs.handed(belief)

    def drop(self, belief: Belief) -> None:
        """A worker gives a lock up."""
        self._believed.pop(belief, None)
        self._beliefs.dropped(belief)

    def taken(self, lock: lockstream.Lock) -> bool:
        """Whether the lock was taken from its holder, who may not know yet."""
        return lock.token in self._beliefs.taken

    def lost(self, lock: lockstream.Lock, reason: "LossReason") -> None:
        """The library says that a lock was lost."""
        self.note(f"{lock} was lost: {reason.name}")
        self.count(f"lost: {reason.name}")
        if self._calm and reason.name != "MAX_HOLD_EXCEEDED":
            self.fail(f"{lock} was lost ({reason.name}), though nothing went wrong")
        if id(lock) in self._lost:
            self.fail(f"the loss of {lock} is told twice")
        self._lost[id(lock)] = lock

    def check_patience(self, worker: Worker, begun: float, wait: float | None) -> None:
        """Something that waits for so long at the most was answered just now."""
        if wait is None:
            return
        took = self.process.time() - max(begun, self._thawed_at)
        ttl = self._options.ttl or 10.0
        if took > wait + (CALM_SLACK if self._calm else SLACK + 2 * ttl):
            self.fail(f"{worker.doing} took {took:.3f} s, with a wait of {wait:g} s and a TTL of {ttl:g} s")

    def count(self, outcome: str) -> None:
        """Something came to an end in this way."""
        self.outcomes[outcome] += 1

    def note(self, what: str) -> None:
        """Something worth a line of the trace."""
        if self._network.trace.wanted:
            self._network.trace.note(self.process.name, what)

    def fail(self, why: str) -> None:
        """Something happened that must not."""
        self._network.scheduler.fail(why)

    def _look(self) -> None:
        for belief in self._believed:
            self._beliefs.look(belief)
