"""The past of a store in process: the last revisions, and the state before them."""

from collections import deque
from collections.abc import Iterator

from lockstream_server.core.changes import (
    Change,
    EntryDeleted,
    EntryPut,
    EvictionDeleted,
    EvictionPut,
    Revision,
    SessionDeleted,
    SessionPut,
    Snapshot,
)
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.store.port import FutureRevisionError

REVISIONS = 10_000
"""How many revisions are kept; those before them are gone, as if compacted."""

Place = tuple[str, str, str]
"""Where something is written: its kind, the name of the lock if it is an entry, its key."""
Put = EntryPut | SessionPut | EvictionPut


class MemoryHistory:
    """Told of every revision."""

    def __init__(self, first: int, limit: int = REVISIONS) -> None:
        """`first` is the revision at which nothing is written yet."""
        self._limit = limit
        self._base = first
        self._written: dict[Place, Put] = {}
        """What is written at the base."""
        self._since: deque[Revision] = deque()

    def __repr__(self) -> str:
        return f"MemoryHistory({len(self._since)} revisions since {self._base})"

    @property
    def newest(self) -> int:
        """The newest revision."""
        return self._since[-1].number if self._since else self._base

    def add(self, revision: Revision) -> None:
        """Take in the next revision."""
        self._since.append(revision)
        if len(self._since) > self._limit:
            self.compact(self._since[0].number)

    def compact(self, revision: int) -> None:
        """Forget what happened up to a revision."""
        while self._since and self._since[0].number <= revision:
            oldest = self._since.popleft()
            _apply(oldest, self._written)
            self._base = oldest.number

    def state(self, revision: int) -> Snapshot:
        """See `Store.read_state`."""
        self._check(revision)
        written = dict(self._written)
        for each in self.since(self._base, revision):
            _apply(each, written)
        puts = [*written.values()]
        return Snapshot(
            revision,
            [put for put in puts if isinstance(put, EntryPut)],
            [put for put in puts if isinstance(put, SessionPut)],
            [put for put in puts if isinstance(put, EvictionPut)],
        )

    def since(self, after: int, until: int) -> Iterator[Revision]:
        """See `Store.read_history`."""
        self._check(after)
        yield from [each for each in self._since if after < each.number <= until]

    def _check(self, revision: int) -> None:
        if revision < self._base:
            raise LockError(Reason.HISTORY_COMPACTED, f"the history before revision {self._base} is gone")
        if revision > self.newest:
            raise FutureRevisionError


def _apply(revision: Revision, written: dict[Place, Put]) -> None:
    for change in revision.changes:
        if isinstance(change, EntryPut | SessionPut | EvictionPut):
            written[_place(change)] = change
        else:
            written.pop(_place(change), None)


def _place(change: Change) -> Place:
    match change:
        case EntryPut(name, key) | EntryDeleted(name, key):
            return "entry", name, key
        case SessionPut(session) | SessionDeleted(session):
            return "session", "", str(session)
        case EvictionPut(key) | EvictionDeleted(key):
            return "eviction", "", key
