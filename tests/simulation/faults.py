"""What goes wrong in the simulated world, and when: after a number of steps that nobody can foresee.

A fault comes between any two steps of any process, preferably of the one that is in the middle of something. Each seed
has faults of its own: a world in which everything goes wrong at once never gets anywhere.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from lockstream_server.core.errors import LockError
from lockstream_server.sessions.operator import Operator
from tests.simulation.calls import Call
from tests.simulation.clients import ClientProcess
from tests.simulation.processes import State
from tests.simulation.servers import LockServer

if TYPE_CHECKING:
    from tests.simulation.world import World

PATIENCE = 2.0
"""Seconds that a draining server waits for its clients to leave."""


class Faults:
    """Injects faults into a world until it is told to stop."""

    def __init__(self, world: "World", every: float, kinds: Sequence[str] | None) -> None:
        """`every` is the mean number of steps between two faults; `kinds` are chosen by chance unless stated."""
        self._world = world
        self._random: Random = world.random
        self._every = every
        self.injected: Counter[str] = Counter()
        known: dict[str, Callable[[], None]] = {
            "break a stream": self._break_stream,
            "lose a direction": self._lose_direction,
            "stall a stream": self._stall_stream,
            "isolate somebody": self._isolate,
            "kill a server": self._kill_server,
            "freeze a server": self._freeze_server,
            "drain a server": self._drain_server,
            "kill a client": self._kill_client,
            "freeze a client": self._freeze_client,
            "pause etcd": self._pause_etcd,
            "cut off from etcd": self._cut_off,
            "lossy etcd": self._lose_messages,
            "break a watch": self._break_watch,
            "stall a watch": self._stall_watch,
            "end a lease early": self._end_lease_early,
            "operator": self._operate,
            "remove by hand": self._remove_by_hand,
        }
        # Not among those that are drawn, so that the seeds which are known keep their worlds.
        sleep = {"suspend a client": self._suspend_client, "suspend a server": self._suspend_server}
        chosen = self._random.sample([*known], self._random.randint(1, 6)) if kinds is None else kinds
        self._kinds = [(kind, (known | sleep)[kind]) for kind in chosen]

    def next_at(self) -> float:
        """The step before which the next fault comes."""
        if not self._kinds:
            return float("inf")
        return self._world.scheduler.steps + self._random.expovariate(1 / self._every)

    def inject(self) -> None:
        """Let one thing go wrong."""
        kind, inject = self._random.choice(self._kinds)
        self.injected[kind] += 1
        inject()

    # Streams.

    def _call(self) -> Call | None:
        calls = [*self._world.network.calls]
        return self._random.choice(calls) if calls else None

    def _break_stream(self) -> None:
        if call := self._call():
            lose = self._random.random() < 0.5
            self._note(f"{call} breaks" + (", losing what is under way" if lose else ""))
            call.break_up(lose=lose)

    def _lose_direction(self) -> None:
        if call := self._call():
            up, down = self._random.choice(((True, False), (False, True), (True, True)))
            self._note(f"{call} falls silent: {up=} {down=}")
            call.lose(up=up, down=down)

    def _stall_stream(self) -> None:
        if call := self._call():
            up, down = self._random.choice(((True, False), (False, True), (True, True)))
            seconds = self._random.random() * 4
            self._note(f"{call} stalls for {seconds:.3f} s: {up=} {down=}")
            call.stall(seconds, up=up, down=down)

    def _isolate(self) -> None:
        somebody = self._client() if self._random.random() < 0.7 else self._server()
        if somebody is not None:
            seconds = self._random.random() ** 2 * 12
            self._note(f"{somebody.process} is isolated for {seconds:.3f} s")
            self._world.network.isolate(somebody.process, seconds)

    # Processes.

    def _server(self) -> LockServer | None:
        """A server that runs; the one in the middle of something, as often as not."""
        current = self._world.scheduler.next_process()
        running = [server for server in self._world.servers if server.process.state is State.RUNS]
        for server in running:
            if server.process is current and self._random.random() < 0.5:
                return server
        return self._random.choice(running) if running else None

    def _client(self) -> ClientProcess | None:
        current = self._world.scheduler.next_process()
        running = [client for client in self._world.clients if client.process.state is State.RUNS]
        for client in running:
            if client.process is current and self._random.random() < 0.5:
                return client
        return self._random.choice(running) if running else None

    def _kill_server(self) -> None:
        if server := self._server():
            server.kill(silently=self._random.random() < 0.3)
            self._world.later(self._random.random() ** 2 * 5, server.start_again)

    def _freeze_server(self) -> None:
        if server := self._server():
            self._note(f"{server.process} freezes")
            server.process.freeze()
            process = server.process
            first = self._random.random() < 0.5
            self._world.later(self._random.random() ** 2 * 8, lambda: process.thaw(arrivals_first=first))

    def _drain_server(self) -> None:
        if server := self._server():
            server.begin_to_drain(PATIENCE, lambda: self._world.later(0.5, server.start_again))

    def _kill_client(self) -> None:
        if client := self._client():
            client.kill(silently=self._random.random() < 0.3)
            self._world.later(self._random.random() * 2, client.start_again)

    def _freeze_client(self) -> None:
        if client := self._client():
            client.freeze()
            self._world.later(self._random.random() ** 2 * 10, client.thaw)

    def _suspend_client(self) -> None:
        if client := self._client():
            client.freeze(suspended=True)
            self._world.later(self._random.random() ** 2 * 20, client.thaw)

    def _suspend_server(self) -> None:
        if server := self._server():
            process = server.process
            self._note(f"the machine of {process} is suspended")
            process.suspend()
            first = self._random.random() < 0.5
            self._world.later(self._random.random() ** 2 * 20, lambda: process.thaw(arrivals_first=first))

    # etcd.

    def _pause_etcd(self) -> None:
        etcd = self._world.etcd.process
        self._note("etcd pauses")
        etcd.freeze()
        first = self._random.random() < 0.5
        self._world.later(self._random.random() ** 2 * 8, lambda: etcd.thaw(arrivals_first=first))

    def _cut_off(self) -> None:
        server = self._random.choice(self._world.servers)
        seconds = self._random.random() ** 2 * 8
        self._note(f"{server.name} is cut off from etcd for {seconds:.3f} s")
        server.line.down_until = max(server.line.down_until, self._world.scheduler.now + seconds)

    def _lose_messages(self) -> None:
        server = self._random.choice(self._world.servers)
        seconds = self._random.random() * 8
        self._note(f"the way of {server.name} to etcd is bad for {seconds:.3f} s")
        server.line.lossy_until = self._world.scheduler.now + seconds

    def _break_watch(self) -> None:
        if server := self._server():
            self._note(f"the watch of {server.name} breaks")
            server.link.break_watch()

    def _stall_watch(self) -> None:
        if server := self._server():
            self._note(f"the watch of {server.name} falls behind")
            server.link.stall_watch(self._random.random() ** 2 * 5)

    def _end_lease_early(self) -> None:
        """As a leader of etcd does that was frozen, and ends what its successor has renewed."""
        etcd = self._world.etcd
        sessions = etcd.truth.sessions()
        if sessions:
            session = self._random.choice(sessions)
            self._note(f"etcd ends the lease of session {session:x} before its time")
            self._world.scheduler.arrive(etcd.process, self._world.scheduler.now, etcd.end_lease, session)

    # People.

    def _operate(self) -> None:
        """An operator takes a lock away, or ends a session."""
        server = self._server()
        if server is None or not server.registry.host.table.locks:
            return
        work: Callable[[], Awaitable[object]]
        operator = Operator(server.registry.host, "maintenance", "operator")
        table = server.registry.host.table
        if self._random.random() < 0.3 and table.sessions:
            session = self._random.choice([*table.sessions])
            self._note(f"an operator ends session {session:x}")
            work = partial(operator.end_session, session)
        else:
            name = self._random.choice([*table.locks])
            self._note(f"an operator releases {name}")
            work = partial(operator.force_release, name, None)

        async def operate() -> None:
            try:
                await work()
            except LockError as error:
                self._note(f"the operator could not: {error.detail}")

        server.process.create_task(operate())

    def _remove_by_hand(self) -> None:
        """Somebody deletes a key in etcd."""
        etcd = self._world.etcd
        puts = etcd.history.entries()
        if not puts:
            return
        put = self._random.choice(puts)
        self._note(f"somebody deletes {put.name}/{put.key} in etcd")
        self._world.beliefs.taken.add(put.token)
        self._world.scheduler.arrive(etcd.process, self._world.scheduler.now, etcd.remove, put)

    def _note(self, what: str) -> None:
        self._world.trace.note("fault", what)
