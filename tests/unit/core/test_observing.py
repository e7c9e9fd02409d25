"""What an observer sees of the fold."""

import pytest

from lockstream_server.core.changes import Change, EvictionPut, Revision
from lockstream_server.core.messages import LossReason
from lockstream_server.core.model import EvictionKind, EvictionRecord, Mode, Terms
from lockstream_server.core.observing import (
    ChangeKind,
    EntryState,
    LockChange,
    Watched,
    changes,
    lock_view,
)
from lockstream_server.core.table import Table
from lockstream_server.store.keys import eviction_id
from tests.support.history import (
    EXCLUSIVE,
    SHARED,
    delete,
    ended,
    eviction,
    foreign,
    foreign_gone,
    opened,
    put,
    recorded,
    session_eviction,
)

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
    before = lock_view("a", table.locks["a"], table)
    seen(table, delete("a", 1))
    assert (queued.entry.state, queued.entry.position) == (EntryState.WAITING, 1)
    assert [entry.state for entry in before.entries] == [EntryState.HELD, EntryState.WAITING]


def test_what_a_session_held_is_held_by_nobody_once_it_is_over() -> None:
    """Each step is told, so that who watches knows as much as who reads."""
    table = table_with(1, 2, 3)
    seen(table, put("a", 1, 2, SHARED))
    seen(table, put("a", 2, 3, SHARED))
    seen(table, put("a", 1, 4, slot=1))
    (changed,) = seen(table, ended(1))
    assert (changed.kind, changed.entry.token, changed.entry.state) == (ChangeKind.CHANGED, 2, EntryState.DELAY)
    states = [entry.state for entry in lock_view("a", table.locks["a"], table).entries]
    assert states == [EntryState.DELAY, EntryState.HELD, EntryState.WAITING]
    (lost,) = seen(table, delete("a", 1))
    assert (lost.kind, lost.entry.state, lost.reason) == (ChangeKind.LOST, EntryState.DELAY, LossReason.LEASE_EXPIRED)
    released, granted = seen(table, delete("a", 2))
    assert (released.kind, released.entry.state) == (ChangeKind.RELEASED, EntryState.HELD)
    assert (granted.kind, granted.entry.token, granted.entry.state) == (ChangeKind.GRANTED, 4, EntryState.DELAY)
    (lost,) = seen(table, delete("a", 1, 1))
    assert (lost.kind, lost.entry.state) == (ChangeKind.LOST, EntryState.DELAY), "also of the last that it had"


def test_what_is_left_of_a_session_that_was_ended_is_lost_by_that() -> None:
    table = table_with(1)
    seen(table, put("a", 1, 2), put("b", 1, 2))
    changed = seen(table, ended(1), recorded(session_eviction(1)))
    assert [(each.kind, each.name, each.entry.state) for each in changed] == [
        (ChangeKind.CHANGED, "a", EntryState.DELAY),
        (ChangeKind.CHANGED, "b", EntryState.DELAY),
    ]
    (by_session,) = seen(table, delete("a", 1))
    (by_itself,) = seen(table, delete("b", 1), recorded(eviction("b", 1, 2)))
    for lost in by_session, by_itself:
        assert (lost.kind, lost.reason) == (ChangeKind.LOST, LossReason.FORCE_RELEASED)


def test_a_foreign_entry_is_held_by_whoever_wrote_it() -> None:
    table = table_with()
    (granted,) = seen(table, foreign("a", "694d", 2))
    (released,) = seen(table, foreign_gone("a", "694d"))
    assert (granted.entry.state, released.entry.state) == (EntryState.HELD, EntryState.HELD)


def test_the_end_of_a_session_that_has_nothing_is_not_seen() -> None:
    assert seen(table_with(1), ended(1)) == []


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
