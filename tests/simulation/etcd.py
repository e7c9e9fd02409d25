"""etcd in the simulated world: one process that holds the truth, a `MemoryStore`."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from lockstream_server.core.changes import EntryDeleted, EntryPut, EvictionPut, Revision, Snapshot
from lockstream_server.store.memory import MemoryStore
from lockstream_server.store.memory_history import MemoryHistory
from lockstream_server.store.port import (
    Outcome,
    Proposal,
)
from tests.simulation.processes import Process, Scheduler

T = TypeVar("T")


class Etcd:
    """The process with the truth."""

    def __init__(self, scheduler: Scheduler, taken: set[int], removed: Callable[[EntryPut], None]) -> None:
        """`taken` gets the tokens of holds that are taken from their holders; `removed` is told of what is deleted."""
        self.process = Process(scheduler, "etcd", 5_000.0)
        self.truth = MemoryStore()
        self.truth.history = self.history = History(taken, removed)

    def remove(self, put: EntryPut) -> None:
        """Delete a key behind the service's back, if it is there still."""
        if put in self.history.entries():
            self.truth.delete_entry(put.name, put.key)

    def end_lease(self, lease: int) -> None:
        """End a lease, whatever is left of its time."""
        self.process.create_task(self.truth.revoke_lease(lease))

    def commit(self, proposals: Sequence[Proposal], answer: Callable[[list[Outcome]], None]) -> None:
        """Apply the proposals of one transaction and answer all at once."""
        outcomes: dict[int, Outcome] = {}

        def settled(index: int, outcome: Outcome) -> None:
            outcomes[index] = outcome
            if len(outcomes) == len(proposals):
                answer([outcomes[each] for each in range(len(proposals))])

        for index, proposal in enumerate(proposals):
            self.truth.propose(proposal, partial(settled, index))

    def call(self, work: Callable[[MemoryStore], Coroutine[Any, Any, T]], answer: Callable[[T], None]) -> None:
        """Answer one of the other requests."""

        async def serve() -> None:
            answer(await work(self.truth))

        self.process.create_task(serve())

    def watch(self, after: int | None, tell: Callable[[Snapshot | Revision], None]) -> "asyncio.Task[None]":
        """Tell a snapshot and what follows; or, given a revision, what follows that."""
        return self.process.create_task(self.truth.follow(_Watcher(self.truth, after, tell)))


class History(MemoryHistory):
    """The history, with what stands now and what was taken from its holders."""

    def __init__(self, taken: set[int], removed: Callable[[EntryPut], None]) -> None:
        super().__init__(1)
        self._taken = taken
        self._removed = removed
        self._standing: dict[tuple[str, str], EntryPut] = {}

    def entries(self) -> list[EntryPut]:
        """Every entry that stands."""
        return [*self._standing.values()]

    def add(self, revision: Revision) -> None:
        super().add(revision)
        gone = []
        for change in revision.changes:
            match change:
                case EntryPut(name, key):
                    self._standing[name, key] = change
                case EntryDeleted(name, key):
                    gone.append(self._standing.pop((name, key)))
                case EvictionPut(_, record) if record.token:
                    self._taken.add(record.token)
                case EvictionPut(_, record):
                    self._taken.update(put.token for put in self.entries() if put.session == record.session)
                case _:
                    pass
        for put in gone:
            self._removed(put)


class _Watcher:
    """A feed on etcd's side of a watch."""

    def __init__(self, truth: MemoryStore, after: int | None, tell: Callable[[Snapshot | Revision], None]) -> None:
        self._truth = truth
        self._after = after
        self._tell = tell
        self.revision = 0

    def resync(self, snapshot: Snapshot) -> None:
        if self._after is None:
            self._tell(snapshot)
        else:
            for revision in self._truth.history.since(self._after, snapshot.revision):
                self._tell(revision)

    def fold(self, revision: Revision) -> None:
        self._tell(revision)
