"""etcd's own history, folded: who held what from which revision to which, by the code and by a plainer reading.

The real fold tells the tenures. The naive model, which knows the rules of `tests.property.naive` and nothing of the
fold's shortcuts, computes anew after every revision who holds; where the two differ is a violation, and so is a gap in
the record.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from lockstream_server.core.changes import EntryDeleted, EntryPut, Revision
from lockstream_server.core.effects import Cause, Ended, Granted, Removed
from lockstream_server.core.model import Entry, EvictionKind, Mode, session_text
from lockstream_server.core.table import Table
from lockstream_server.store.etcd.watch import DELETE, decode_events
from lockstream_server.store.keys import Keys
from tests.property.naive import holds
from tests.robustness.history import Changed
from tests.robustness.story import Story
from tests.robustness.validate.violations import Violation

PUT = 0
"""Event.EventType.PUT of etcd's kv.proto."""


@dataclass(slots=True)
class Tenure:
    """One entry, from its grant to its end. Revisions are of etcd, `seen` is when the record read them."""

    name: str
    key: str
    session: str
    """Empty for an entry of nobody, a foreign key."""
    owner: str
    token: int
    mode: Mode
    """At the grant."""
    permits: int
    limit: int
    lock_delay: float
    granted: int
    granted_seen: float
    orphaned_seen: float | None = None
    """When its session was over while it stayed."""
    removed: int | None = None
    removed_seen: float | None = None
    cause: Cause | None = None
    evicted: EvictionKind | None = None


@dataclass(slots=True)
class Replay:
    """What a history comes to."""

    tenures: dict[tuple[str, int], Tenure] = field(default_factory=dict)
    """By name and token, in the order of their grants. Those of nobody have the token negative here, because others may
    write several in one transaction."""
    entries: dict[tuple[str, int], str] = field(default_factory=dict)
    """The owner of every acquire that was written, granted or not, by name and token."""
    ended: dict[str, float] = field(default_factory=dict)
    """By session, when the record read that it was over. What stands of it from then on is nobody's."""
    violations: list[Violation] = field(default_factory=list)


class _KeyValue(NamedTuple):
    """As much of etcd's KeyValue as the code reads."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int


class _Event(NamedTuple):
    type: int
    kv: _KeyValue


def replay(story: Story) -> Replay:
    """Fold the recorded history of etcd."""
    result = Replay(violations=list(gaps(story.changes)))
    table, naive = Table(), Naive()
    seen = {change.revision: change.at for change in story.changes}
    for revision in revisions(story.changes, story.began.prefix):
        at = seen[revision.number]
        for change in revision.changes:
            if isinstance(change, EntryPut) and change.token == revision.number and change.session is not None:
                result.entries[change.name, change.token] = change.record.owner
        for effect in table.fold(revision):
            match effect:
                case Granted(entry):
                    result.tenures[_identity(entry)] = _tenure(entry, revision.number, at)
                case Ended(session) if session in table.sessions:
                    for entry in table.sessions[session].entries.values():
                        if (held := result.tenures.get(_identity(entry))) is not None:
                            held.orphaned_seen = at
                case Removed(entry, cause, eviction) if entry.granted:
                    tenure = result.tenures[_identity(entry)]
                    tenure.removed, tenure.removed_seen, tenure.cause = revision.number, at, cause
                    tenure.evicted = eviction.kind if eviction is not None else None
                case Ended(session):
                    result.ended[session_text(session)] = at
                case _:
                    pass
        for name in naive.apply(revision):
            queue = table.locks.get(name)
            by_fold = {entry.key for entry in queue.entries if entry.granted} if queue is not None else set()
            by_rules = naive.holders(name)
            if by_fold != by_rules:
                both = f"the fold has {sorted(by_fold)} hold, the rules {sorted(by_rules)}"
                text = f"at revision {revision.number} {both}"
                result.violations.append(Violation("commit order", name, text))
    return result


def _identity(entry: Entry) -> tuple[str, int]:
    return entry.name, entry.token if entry.session is not None else -entry.token


def _tenure(entry: Entry, revision: int, at: float) -> Tenure:
    return Tenure(
        name=entry.name,
        key=entry.key,
        session=session_text(entry.session) if entry.session is not None else "",
        owner=entry.record.owner,
        token=entry.token,
        mode=entry.record.mode,
        permits=entry.record.terms.permits,
        limit=entry.record.terms.limit,
        lock_delay=entry.record.terms.lock_delay,
        granted=revision,
        granted_seen=at,
    )


class Naive:
    """Every entry there is, and who holds by the rules alone."""

    def __init__(self) -> None:
        self._locks: dict[str, dict[str, EntryPut]] = {}

    def apply(self, revision: Revision) -> set[str]:
        """Take in a revision; the names it touched."""
        touched: set[str] = set()
        for change in revision.changes:
            match change:
                case EntryPut():
                    self._locks.setdefault(change.name, {})[change.key] = change
                    touched.add(change.name)
                case EntryDeleted():
                    self._locks.get(change.name, {}).pop(change.key, None)
                    touched.add(change.name)
                case _:
                    pass
        return touched

    def holders(self, name: str) -> set[str]:
        """The keys of those who hold."""
        entries = self._locks.get(name, {}).values()
        queue = sorted(entries, key=lambda put: (put.token, put.key))
        return {put.key for put, held in zip(queue, holds(queue), strict=True) if held}


def revisions(changes: Sequence[Changed], prefix: str) -> Iterator[Revision]:
    """The history as the code reads it."""
    keys = Keys(prefix)
    for _, of_revision in groupby(changes, key=lambda change: change.revision):
        yield from decode_events(keys, [_event(change) for change in of_revision])


def _event(change: Changed) -> _Event:
    value = (change.value or "").encode("latin-1")
    kv = _KeyValue(change.key.encode("latin-1"), value, change.create_revision, change.revision)
    return _Event(DELETE if change.value is None else PUT, kv)


def gaps(changes: Sequence[Changed]) -> Iterator[Violation]:
    """Where the record itself is not whole: it would prove nothing."""
    versions: dict[str, int] = {}
    newest = 0
    for change in changes:
        if change.revision < newest:
            yield Violation("record", change.key, f"revision {change.revision} was read after {newest}")
        newest = change.revision
        known = versions.get(change.key, 0)
        if change.value is None:
            if not known:
                yield Violation("record", change.key, f"deleted at revision {change.revision} and never written")
            versions.pop(change.key, None)
        else:
            if change.version != known + 1:
                text = f"version {change.version} at revision {change.revision} follows version {known}"
                yield Violation("record", change.key, text)
            versions[change.key] = change.version
