"""One world: made, run and judged from one seed."""

import gc
import random as standard_random
from asyncio.events import _get_running_loop
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from lockstream import _clock
from lockstream._options import Options
from lockstream_server.sessions.host import Bounds
from tests.simulation.beliefs import Beliefs
from tests.simulation.calls import Host
from tests.simulation.clients import ClientProcess, Habits
from tests.simulation.etcd import Etcd
from tests.simulation.faults import Faults
from tests.simulation.line import Line
from tests.simulation.network import Network
from tests.simulation.processes import Process, Scheduler
from tests.simulation.remains import remains
from tests.simulation.servers import LockServer
from tests.simulation.trace import Trace
from tests.simulation.workload import LIMITS

HEALING = 90.0
"""Seconds of the world's time within which everybody who waits is granted or told, once nothing goes wrong any more."""
HEALING_STEPS = 100_000
"""Steps after which whoever is busy healing is going round in circles."""
FORGETTING = 4_000.0
"""Seconds after which nothing is left of it all; the record of an eviction is kept for an hour."""
CALM = 0.1
"""Of all worlds, those in which nothing goes wrong."""
AGREEMENT_STEPS = 100
"""Steps between two comparisons of the servers' tables."""


@dataclass
class Result:
    """What became of a run."""

    seed: int
    steps: int
    grants: int
    seconds: float
    """Of the world's time, before the healing."""
    faults: Counter[str]
    outcomes: Counter[str]
    """How often what the clients did came to which end."""
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)


class World:
    """Servers, clients and etcd, and everything between them."""

    def __init__(self, seed: int, *, traced: bool = False, kinds: Sequence[str] | None = None) -> None:
        """`kinds` are the faults there are to be; some chosen by the seed unless stated, or none."""
        self.seed = seed
        self.random = random = Random(seed)
        self.scheduler = Scheduler()
        self.trace = Trace(self.scheduler, wanted=traced)
        self.calm = random.random() < CALM if kinds is None else not kinds
        """Whether nothing goes wrong: then everything has to go right."""
        self.network = Network(self.scheduler, random, self.trace, typical_delay=random.choice((0.001, 0.02, 0.2)))
        self.network.hiccups = 0.0 if self.calm else random.choice((0.0, 0.0, 0.01))
        self.beliefs = Beliefs(self.trace, self.scheduler.fail)
        self.etcd = Etcd(self.scheduler, self.beliefs.taken, self.beliefs.removed)
        self._fate = Process(self.scheduler, "fate", 0.0)
        bounds = Bounds(outbox_events=random.choice((4, 1_024)))
        self.servers = [self._server(f"server-{number}", bounds) for number in range(random.choice((1, 2, 2, 3)))]
        names = tuple(random.sample(["a", "b", "c", *LIMITS], random.randint(1, 4)))
        habits = self._habits()
        hosts: dict[str, Host] = {server.name: server for server in self.servers}
        self.clients = [
            ClientProcess(
                f"client-{number}", self.network, hosts, self.beliefs, names, habits, self._options(), calm=self.calm
            )
            for number in range(random.choice((2, 3, 4)))
        ]
        self.faults = Faults(self, every=random.choice((40.0, 150.0, 500.0)), kinds=() if self.calm else kinds)

    def _server(self, name: str, bounds: Bounds) -> LockServer:
        random = self.random
        line = Line(self.scheduler, random, self.etcd, typical_delay=random.choice((0.001, 0.01, 0.1)))
        line.loss = 0.0 if self.calm else random.choice((0.0, 0.0, 0.02, 0.1))
        line.compacted = random.choice((0.0, 0.5))
        server = LockServer(name, self.network, line, bounds)
        server.clock_error = random.choice((0.0, random.random() * 2 - 1))
        return server

    def _habits(self) -> Habits:
        random = self.random
        return Habits(
            workers=random.choice((1, 2, 3)),
            idle=random.choice((0.01, 0.1, 1.0)),
            hold=random.choice((0.01, 0.5, 3.0)),
            patience=random.choice((0.02, 1.0)),
            nesting=random.choice((1, 2, 3)),
            sharing=random.choice((0.0, 0.5, 0.9)),
            delays=random.choice((0.0, 0.0, 0.3)),
            limits=random.choice((0.0, 0.0, 0.3)),
            closing=0.0 if self.calm else random.choice((0.0, 1.0, 20.0)),
        )

    def _options(self) -> Options:
        random = self.random
        return Options(
            ttl=float(random.choice((2, 3, 6))),
            grace=random.choice((None, None, None, 0.0, 0.5)),
            name="client",
            connect_timeout=2.0,
        )

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen in the world, which no process does."""
        self.network.after(seconds, self._fate, action)

    # Running.

    def run(self, steps: int) -> Result:
        """Run so many steps with faults, then heal, wind down, and look at what is left."""
        library_random = standard_random.getstate()
        standard_random.seed(self.seed)  # the library's jitter
        library_asleep, _clock.asleep = _clock.asleep, asleep
        gc.disable()
        try:
            self._go_wrong(steps)
            seconds = self.scheduler.now
            if not self.violations:
                self._heal()
            if not self.violations:
                self._forget()
            return Result(
                self.seed,
                self.scheduler.steps,
                self.beliefs.grants,
                seconds,
                self.faults.injected,
                sum((client.outcomes for client in self.clients), Counter()),
                [*self.violations],
                self.trace.lines,
            )
        finally:
            self._end()
            standard_random.setstate(library_random)
            _clock.asleep = library_asleep
            gc.enable()

    @property
    def violations(self) -> list[str]:
        """What was violated."""
        return self.scheduler.defects

    def _go_wrong(self, steps: int) -> None:
        scheduler, next_fault, next_look = self.scheduler, self.faults.next_at(), 0.0
        while scheduler.steps < steps and not self.violations:
            self._advance(float("inf"), min(next_fault, next_look, steps))
            if scheduler.steps >= next_fault:
                self.faults.inject()
                next_fault = self.faults.next_at()
            if scheduler.steps >= next_look:
                self._compare_tables()
                self.beliefs.compare(self.etcd.history.entries())
                next_look = scheduler.steps + AGREEMENT_STEPS

    def _advance(self, until: float, steps: float) -> None:
        """Run; an exception that nobody handles is a violation."""
        try:
            self.scheduler.run(until, steps)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.trace.exception(error)
            self.scheduler.fail(f"{error!r} came out of a callback")

    def _heal(self) -> None:
        """Nothing goes wrong any more: everybody who waits is granted or told, and leaves."""
        self.trace.note("fate", "heals everything")
        for client in self.clients:
            client.stopping = True
            client.thaw()
            client.start_again()
        for server in self.servers:
            server.line.heal()
            server.process.thaw(arrivals_first=True)
            server.start_again()
        self.etcd.process.thaw(arrivals_first=True)
        self.network.hiccups = 0.0
        self.network.isolated.clear()
        deadline = self.scheduler.now + HEALING
        last = self.scheduler.steps + HEALING_STEPS
        while not self.violations and self.scheduler.now < deadline and self.scheduler.steps < last:
            self._advance(self.scheduler.now + 1.0, last)
            if all(client.main.done() for client in self.clients):
                break
        for client in self.clients if not self.violations else ():
            if not client.main.done():
                self.scheduler.fail(f"{client} is not done {HEALING:g} s after everything was healed")
            elif client.main.exception() is not None:
                self.scheduler.fail(f"{client} failed: {client.main.exception()!r}")
        self._compare_tables()

    def _forget(self) -> None:
        """Everybody has left: in the end nothing is left of them."""
        self._advance(self.scheduler.now + FORGETTING, self.scheduler.steps + HEALING_STEPS)
        for remainder in remains(self):
            self.scheduler.fail(remainder)
        self._compare_tables()

    def _compare_tables(self) -> None:
        """Two servers that have seen the same revision agree."""
        seen: dict[int, tuple[str, str]] = {}
        for server in self.servers:
            if not server.running:
                continue
            table = server.registry.host.table
            text = repr((sorted(table.locks.items()), sorted(table.sessions), sorted(table.evictions.items())))
            name, other = seen.setdefault(table.revision, (server.name, text))
            if other != text:
                self.scheduler.fail(f"at revision {table.revision} {name} has {other}, but {server.name} has {text}")

    def _end(self) -> None:
        for client in self.clients:
            client.kill(silently=True)
        for server in self.servers:
            server.kill(silently=True)
        self.etcd.process.kill()


def asleep() -> float:
    """For how long the machine of the process that runs has slept, in place of what the library reads."""
    process = _get_running_loop()
    return process.slept if isinstance(process, Process) else 0.0
