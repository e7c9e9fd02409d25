"""What an observer sees of the fold."""

import pytest

from lockstream_server.core.changes import Change, EntryDeleted, EntryPut, EvictionPut, Revision
from lockstream_server.core.messages import LossReason
from lockstream_server.core.model import EntryRecord, EvictionKind, EvictionRecord, Mode, Terms
from lockstream_server.core.observing import (
    ChangeKind,
    EntryState,
    LockChange,
    Watched,
    changes,
    lock_view,
)
from lockstream_server.core.table import Table
from lockstream_server.store.keys import delay_id, entry_id, eviction_id
from tests.support.history import EXCLUSIVE, SHARED, delete, ended, opened, put

ALL = Watched(None)


def table_with(*sessions: int) -> Table:
    table = Table()
    table.fold(Revision(1, [opened(session, 1) for session in sessions]))
    return table


def seen(table: Table, *happened: Change, watched: Watched = ALL) -> list[LockChange]:
    """Fold the next revision and tell what is seen of it."""
    return changes(table, table.fold(Revision(table.revision + 1, happened)), watched)


def summary(found: list[LockChange]) -> list[tuple[ChangeKind, int | None, int]]:
    """Kind, session, position of each."""
    return [(each.kind, each.entry.session, each.entry.position) for each in found]


def delay(session: int, token: int, of: int) -> EntryPut:
    return EntryPut("a", delay_id(entry_id(session, 0)), None, EntryRecord(1, terms=Terms(shadow_of=of)), token)


def test_an_entry_is_granted_or_queued() -> None:
    table = table_with(1, 2, 3)
    assert summary(seen(table, put("a", 1, 2))) == [(ChangeKind.GRANTED, 1, 0)]
    assert summary(seen(table, put("a", 2, 3))) == [(ChangeKind.QUEUED, 2, 1)]
    assert summary(seen(table, put("a", 3, 4))) == [(ChangeKind.QUEUED, 3, 2)]


def test_a_release_comes_before_the_grant_that_follows() -> None:
    table = table_with(1, 2)
    seen(table, put("a", 1, 2))
    seen(table, put("a", 2, 3))
    released, granted = seen(table, delete("a", 1))
    assert (released.kind, released.entry.token, released.reason) == (ChangeKind.RELEASED, 2, None)
    assert (granted.kind, granted.entry.token, granted.entry.state) == (ChangeKind.GRANTED, 3, EntryState.HELD)


def test_the_end_of_a_session_loses_what_it_holds_and_leaves_what_it_awaits() -> None:
    table = table_with(1, 2)
    seen(table, put("a", 2, 2), put("b", 1, 2))
    seen(table, put("a", 1, 3))
    left, lost = seen(table, delete("a", 1), delete("b", 1), ended(1))
    assert (left.kind, left.name, left.reason) == (ChangeKind.LEFT, "a", None)
    assert (lost.kind, lost.name, lost.reason) == (ChangeKind.LOST, "b", LossReason.LEASE_EXPIRED)


@pytest.mark.parametrize("kind", EvictionKind)
def test_an_eviction_says_which(kind: EvictionKind) -> None:
    table = table_with(1)
    seen(table, put("a", 1, 2))
    record = EvictionRecord(kind, 1, "a", 1, 2, "why", "who", 1.5)
    (lost,) = seen(table, delete("a", 1), EvictionPut(eviction_id(record), record))
    assert lost.kind is ChangeKind.LOST
    assert lost.reason is LossReason[kind.name]


def test_a_new_value_is_a_change_and_the_servers_own_notes_are_none() -> None:
    table = table_with(1)
    seen(table, put("a", 1, 2))
    (changed,) = seen(table, put("a", 1, 2, EXCLUSIVE._replace(terms=Terms(value=b"leader"))))
    assert (changed.kind, changed.entry.record.terms.value) == (ChangeKind.CHANGED, b"leader")
    noted = EXCLUSIVE._replace(terms=Terms(value=b"leader", held_until=5.0))
    assert seen(table, put("a", 1, 2, noted)) == []


def test_a_downgrade_is_a_change_and_lets_readers_in() -> None:
    table = table_with(1, 2)
    seen(table, put("a", 1, 2))
    seen(table, put("a", 2, 3, SHARED))
    changed, granted = seen(table, put("a", 1, 2, SHARED))
    assert (changed.kind, changed.entry.record.mode) == (ChangeKind.CHANGED, Mode.SHARED)
    assert (granted.kind, granted.entry.session) == (ChangeKind.GRANTED, 2)


def test_what_is_seen_of_an_entry_does_not_change_with_it() -> None:
    table = table_with(1, 2)
    seen(table, put("a", 1, 2))
    (queued,) = seen(table, put("a", 2, 3))
    before = lock_view("a", table.locks["a"])
    seen(table, delete("a", 1))
    assert (queued.entry.state, queued.entry.position) == (EntryState.WAITING, 1)
    assert [entry.state for entry in before.entries] == [EntryState.HELD, EntryState.WAITING]


def test_a_lock_delay_is_seen_only_once_it_takes_the_place_of_a_hold() -> None:
    table = table_with(1, 2)
    seen(table, put("a", 1, 2))
    assert seen(table, delay(1, 3, of=2)) == []
    assert summary(seen(table, put("a", 2, 4))) == [(ChangeKind.QUEUED, 2, 1)]
    entries = lock_view("a", table.locks["a"]).entries
    assert [(entry.state, entry.position) for entry in entries] == [(EntryState.HELD, 0), (EntryState.WAITING, 1)]
    lost, delayed = seen(table, delete("a", 1), ended(1))
    assert (lost.kind, delayed.kind, delayed.entry.state) == (ChangeKind.LOST, ChangeKind.GRANTED, EntryState.DELAY)
    over, granted = seen(table, EntryDeleted("a", delay_id(entry_id(1, 0))))
    assert (over.kind, over.entry.state) == (ChangeKind.RELEASED, EntryState.DELAY)
    assert (granted.kind, granted.entry.session) == (ChangeKind.GRANTED, 2)


def test_a_lock_delay_that_never_came_to_be_is_never_seen() -> None:
    table = table_with(1)
    seen(table, put("a", 1, 2))
    seen(table, delay(1, 3, of=2))
    gone = [delete("a", 1), EntryDeleted("a", delay_id(entry_id(1, 0)))]
    assert [each.kind for each in seen(table, *gone)] == [ChangeKind.RELEASED]


@pytest.mark.parametrize(
    ("watched", "names"),
    [
        (ALL, ["a", "a/b", "b"]),
        (Watched("a"), ["a"]),
        (Watched(None, "a"), ["a", "a/b"]),
        (Watched(None, "a/"), ["a/b"]),
        (Watched("c"), []),
    ],
)
def test_only_the_names_watched_are_seen(watched: Watched, names: list[str]) -> None:
    table = table_with(1)
    found = seen(table, *(put(name, 1, 2) for name in ("a", "a/b", "b")), watched=watched)
    assert [change.name for change in found] == names
    assert [lock.name for lock in watched.locks(table)] == names
