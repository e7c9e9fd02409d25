"""What somebody who only looks is told: locks as they stand, and what each revision changed of them.

The entries of a table change under whoever looks at them, so these are copies, taken at one revision.

A lock delay is written while its hold still stands. Nobody sees it until the hold is lost and it takes that one's
place; when the hold is released, both go and the delay was never shown.
"""

from collections.abc import Iterator, Sequence
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
    """It keeps the name taken after a hold was lost."""


class EntryView(NamedTuple):
    """One entry at one revision."""

    session: int | None
    """None for a foreign entry and for a lock delay."""
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
            yield from (lock_view(name, queue) for name, queue in table.locks.items() if name.startswith(self.prefix))
        elif self.name in table.locks:
            yield lock_view(self.name, table.locks[self.name])


def lock_view(name: str, queue: Queue | None) -> LockView:
    """A lock as it stands; None is a free one."""
    if queue is None:
        return LockView(name, ())
    views: list[EntryView] = []
    waiting = 0
    for entry in queue.entries:
        if entry.granted:
            views.append(_view(entry, 0))
        elif not entry.record.terms.shadow_of:
            waiting += 1
            views.append(_view(entry, waiting))
    return LockView(name, views)


def changes(table: Table, effects: Sequence[Effect], watched: Watched) -> list[LockChange]:
    """What of the effects of a revision, which the table has just folded, concerns the names watched."""
    found = []
    for effect in effects:
        if not isinstance(effect, Attached | Ended) and watched.covers(effect.entry.name):
            change = change_of(table, effect)
            if change is not None:
                found.append(change)
    return found


def change_of(table: Table, effect: Granted | Queued | Removed | Rewritten) -> LockChange | None:
    """What an effect of a revision, which the table has just folded, looks like from outside; None if like nothing."""
    entry = effect.entry
    if entry.record.terms.shadow_of and not entry.granted:
        return None
    match effect:
        case Granted():
            return _change(ChangeKind.GRANTED, entry)
        case Queued():
            return _change(ChangeKind.QUEUED, entry, position_of(table, entry))
        case Rewritten(_, before):
            if _shown(before) == _shown(entry.record):
                return None
            return _change(ChangeKind.CHANGED, entry, position_of(table, entry))
        case Removed(_, cause, eviction):
            if not entry.granted:
                return _change(ChangeKind.LEFT, entry)
            if cause is Cause.DELETED or entry.record.terms.shadow_of:
                return _change(ChangeKind.RELEASED, entry)
            reason = LossReason.LEASE_EXPIRED if eviction is None else LossReason[eviction.kind.name]
            return LockChange(ChangeKind.LOST, entry.name, _view(entry, 0), reason)


def position_of(table: Table, entry: Entry) -> int:
    """The place of an entry among the waiters, from 1; 0 if it holds, or is gone."""
    return table.position(entry) if table.entry(entry.name, entry.key) is entry else 0


def _change(kind: ChangeKind, entry: Entry, position: int = 0) -> LockChange:
    return LockChange(kind, entry.name, _view(entry, position), None)


def _view(entry: Entry, position: int) -> EntryView:
    state = EntryState.WAITING
    if entry.granted:
        state = EntryState.DELAY if entry.record.terms.shadow_of else EntryState.HELD
    return EntryView(entry.session, entry.record, entry.token, state, entry.granted_at, position)


def _shown(record: EntryRecord) -> EntryRecord:
    """The record without what is the servers' own business."""
    return record._replace(terms=record.terms._replace(held_until=0.0, delay_lease=0))
