"""What somebody who only looks is told: locks as they stand, and what each revision changed of them.

The entries of a table change under whoever looks at them, so these are copies, taken at one revision.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from lockstream_server.core.effects import Attached, Cause, Effect, Ended, Granted, Queued, Removed, Rewritten
from lockstream_server.core.messages import LossReason
from lockstream_server.core.model import Entry, EntryRecord
from lockstream_server.core.queue import Queue
from lockstream_server.core.table import Table


class EntryState(Enum):
    """Where an entry stands; by the same names in lock.proto."""

    WAITING = "waiting"
    HELD = "held"
    DELAY = "delay"
    """It keeps the name taken although its session is over."""


class EntryView(NamedTuple):
    """One entry at one revision."""

    session: int | None
    """None for a foreign entry."""
    record: EntryRecord
    token: int
    state: EntryState
    granted_at: float | None
    """Seconds since the epoch; None when it waits, or was granted before this server looked."""
    position: int
    """Among the waiters, from 1; 0 when it does not wait, or no longer."""


class LockView(NamedTuple):
    """One lock at one revision: those who hold, then those who wait."""

    name: str
    entries: Sequence[EntryView]


class ChangeKind(Enum):
    """What happened to an entry; by the same names in service.proto."""

    GRANTED = "granted"
    QUEUED = "queued"
    RELEASED = "released"
    LOST = "lost"
    LEFT = "left"
    CHANGED = "changed"


class LockChange(NamedTuple):
    """One thing that happened to one entry."""

    kind: ChangeKind
    name: str
    entry: EntryView
    """As it stands after the revision, or stood last."""
    reason: LossReason | None
    """Why it was lost, if it was."""


class RevisionChanges(NamedTuple):
    """What one revision changed of the locks that somebody watches, in order."""

    revision: int
    changes: Sequence[LockChange]


class Watched(NamedTuple):
    """The names that somebody watches: one, or all that begin with a prefix."""

    name: str | None
    prefix: str = ""

    def covers(self, name: str) -> bool:
        """Whether a name is one of them."""
        return name.startswith(self.prefix) if self.name is None else name == self.name

    def locks(self, table: Table) -> Iterator[LockView]:
        """Those of them that are held or awaited."""
        if self.name is None:
            yield from (
                lock_view(name, queue, table) for name, queue in table.locks.items() if name.startswith(self.prefix)
            )
        elif self.name in table.locks:
            yield lock_view(self.name, table.locks[self.name], table)


def lock_view(name: str, queue: Queue | None, sessions: Table) -> LockView:
    """A lock as it stands, None being a free one; a table tells which sessions are over."""
    if queue is None:
        return LockView(name, ())
    return LockView(
        name,
        [
            _view(entry, max(0, place), over=sessions.is_over(entry.session))
            for place, entry in enumerate(queue.entries, 1 - queue.holding)
        ],
    )


def changes(table: Table, effects: Sequence[Effect], watched: Watched) -> list[LockChange]:
    """What of the effects of a revision, which the table has just folded, concerns the names watched."""
    return [
        change
        for effect in effects
        for entry in concerned(table, effect)
        if watched.covers(entry.name) and (change := change_of(table, effect, entry)) is not None
    ]


def concerned(table: Table, effect: Effect) -> Iterable[Entry]:
    """The entries that an effect of a revision, which the table has just folded, is about."""
    match effect:
        case Attached():
            return ()
        case Ended(session):
            return table.sessions[session].entries.values() if session in table.sessions else ()
        case Granted(entry) | Queued(entry) | Removed(entry) | Rewritten(entry):
            return (entry,)


def change_of(table: Table, effect: Effect, entry: Entry) -> LockChange | None:
    """What such an effect does to one of these entries, as seen from outside; None if nothing."""
    kind, reason = _kind_of(effect, entry)
    if kind is None:
        return None
    over = entry.session is not None and not table.lives(entry.session)
    return LockChange(kind, entry.name, _view(entry, position_of(table, entry), over=over), reason)


def _kind_of(effect: Effect, entry: Entry) -> tuple[ChangeKind | None, LossReason | None]:
    match effect:
        case Granted():
            return ChangeKind.GRANTED, None
        case Queued():
            return ChangeKind.QUEUED, None
        case Rewritten(_, before) if _shown(before) != _shown(entry.record):
            return ChangeKind.CHANGED, None
        case Ended() if entry.granted:
            return ChangeKind.CHANGED, None
        case Removed() if not entry.granted:
            return ChangeKind.LEFT, None
        case Removed(_, Cause.DELETED):
            return ChangeKind.RELEASED, None
        case Removed(_, _, eviction):
            return ChangeKind.LOST, LossReason[eviction.kind.name] if eviction is not None else LossReason.LEASE_EXPIRED
        case _:
            return None, None


def position_of(table: Table, entry: Entry) -> int:
    """The place of an entry among the waiters, from 1; 0 if it holds, or is gone."""
    return table.position(entry) if table.entry(entry.name, entry.key) is entry else 0


def _view(entry: Entry, position: int, *, over: bool) -> EntryView:
    state = EntryState.WAITING
    if entry.granted:
        state = EntryState.DELAY if over else EntryState.HELD
    return EntryView(entry.session, entry.record, entry.token, state, entry.granted_at, position)


def _shown(record: EntryRecord) -> EntryRecord:
    """The record without what is the servers' own business."""
    return record._replace(terms=record.terms._replace(held_until=0.0))
