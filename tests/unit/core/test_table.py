"""The fold: one revision, then what the table says and what follows from it."""

from collections.abc import Sequence

import pytest

from lockstream_server.core.changes import Change, EntryPut, Revision, Snapshot
from lockstream_server.core.model import EntryRecord
from lockstream_server.core.table import Table
from tests.support.history import SHARED, delete, ended, foreign, foreign_gone, opened, put, told


def folded(*revisions: Sequence[Change]) -> Table:
    """A table that has folded these, from revision 1; sessions are opened with their first entry, if not before."""
    table = Table()
    for number, changes in enumerate(revisions, 1):
        owners = {change.session for change in changes if isinstance(change, EntryPut)}
        new = [opened(session, number) for session in owners if session is not None and session not in table.sessions]
        table.fold(Revision(number, [*new, *changes]))
    return table


def then(table: Table, *changes: Change, at: float | None = None) -> list[str]:
    return told(table.fold(Revision(table.revision + 1, changes), at))


def queue(table: Table, name: str = "a") -> list[tuple[int | None, bool]]:
    """Who is in the queue and whether each holds."""
    return [(entry.session, entry.granted) for entry in table.locks[name].entries]


def test_the_first_entry_holds() -> None:
    table = Table()
    assert then(table, put("a", 1, 1)) == ["granted a/1"]
    assert queue(table) == [(1, True)]


def test_the_second_entry_waits() -> None:
    table = folded([put("a", 1, 1)])
    assert then(table, put("a", 2, 2)) == ["queued a/2"]
    assert queue(table) == [(1, True), (2, False)]


def test_the_end_of_the_holder_grants_the_next() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)], [put("a", 3, 3)])
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted", "granted a/2"]
    assert queue(table) == [(2, True), (3, False)]


def test_the_end_of_a_waiter_grants_nobody() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)], [put("a", 3, 3)])
    assert then(table, delete("a", 2)) == ["removed a/2 waiting: deleted"]
    assert queue(table) == [(1, True), (3, False)]


def test_the_last_end_leaves_nothing() -> None:
    table = folded([put("a", 1, 1)])
    then(table, delete("a", 1), ended(1))
    assert (table.locks, table.sessions) == ({}, {})


def test_readers_hold_together() -> None:
    table = folded([put("a", 1, 1, SHARED)])
    assert then(table, put("a", 2, 2, SHARED)) == ["granted a/2"]


def test_a_writer_waits_for_readers_and_later_readers_for_it() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 2, 2)])
    assert then(table, put("a", 3, 3, SHARED)) == ["queued a/3"]
    assert queue(table) == [(1, True), (2, False), (3, False)]


def test_the_writer_goes_before_the_later_reader() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 2, 2)], [put("a", 3, 3, SHARED)])
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted", "granted a/2"]
    assert then(table, delete("a", 2)) == ["removed a/2 held: deleted", "granted a/3"]


def test_one_of_two_readers_leaving_does_not_let_the_writer_in() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 2, 2, SHARED)], [put("a", 3, 3)])
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted"]


def test_a_withdrawn_writer_lets_all_readers_behind_it_in() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 2, 2)], [put("a", 3, 3, SHARED)], [put("a", 4, 4, SHARED)])
    assert then(table, delete("a", 2)) == ["removed a/2 waiting: deleted", "granted a/3", "granted a/4"]


def test_entries_of_one_revision_are_ordered_by_their_keys() -> None:
    table = Table()
    assert then(table, put("a", 2, 1), put("a", 1, 1)) == ["granted a/1", "queued a/2"]


def test_a_session_that_goes_with_its_entries_is_one_cause_for_all() -> None:
    table = folded([opened(1, 1)], [put("a", 1, 2)], [put("b", 1, 3, slot=1)], [put("a", 2, 4)])
    assert then(table, delete("a", 1), delete("b", 1, 1), ended(1)) == [
        "ended 1",
        "removed a/1 held: session ended",
        "removed b/1 held: session ended",
        "granted a/2",
    ]


def test_entries_that_outlive_their_session_go_because_of_it() -> None:
    table = folded([opened(1, 1)], [put("a", 1, 2)])
    assert then(table, ended(1)) == ["ended 1"]
    assert queue(table) == [(1, True)]
    assert then(table, delete("a", 1)) == ["removed a/1 held: session ended"]
    assert table.sessions == {}


def test_an_entry_deleted_alone_was_deleted_by_somebody() -> None:
    table = folded([opened(1, 1)], [put("a", 1, 2)])
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted"]


def test_a_record_written_anew_tells_who_is_attached() -> None:
    table = folded([opened(1, 1)])
    assert then(table, opened(1, 2)) == ["attached 1 at 2"]
    assert table.sessions[1].attached_at == 2


def test_an_entry_replaced_within_one_revision_is_another() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)])
    assert then(table, delete("a", 1), put("a", 1, 3)) == ["removed a/1 held: deleted", "granted a/2", "queued a/1"]


def test_an_entry_replaced_unseen_is_another() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)])
    assert then(table, put("a", 1, 3)) == ["removed a/1 held: deleted", "granted a/2", "queued a/1"]


def test_an_entry_rewritten_keeps_its_place_and_token() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)])
    assert then(table, put("a", 1, 1, EntryRecord(1, owner="other"))) == ["rewritten a/1"]
    assert queue(table) == [(1, True), (2, False)]
    entry = table.entry("a", "0000000000000001.0")
    assert entry is not None
    assert (entry.record.owner, entry.token) == ("other", 1)


def test_a_foreign_key_excludes_ours_and_is_excluded() -> None:
    table = folded([foreign("a", "694d", 1)])
    assert then(table, put("a", 1, 2)) == ["queued a/1"]
    assert then(table, foreign("a", "695e", 3)) == ["queued a/695e"]
    assert then(table, foreign_gone("a", "694d")) == ["removed a/694d held: deleted", "granted a/1"]


def test_a_damaged_entry_goes_by_its_key() -> None:
    """Its value says nothing, so it came as a foreign one; its deletion shows the key alone."""
    table = folded([foreign("a", "0000000000000001.0", 1)])
    assert then(table, delete("a", 1)) == ["removed a/0000000000000001.0 held: deleted"]
    assert table.locks == {}


def test_one_slot_on_two_locks() -> None:
    table = folded([opened(1, 1)], [put("b", 1, 2)], [put("a", 1, 3)], [ended(1)])
    assert then(table, delete("a", 1), delete("b", 1)) == [
        "removed a/1 held: session ended",
        "removed b/1 held: session ended",
    ]
    assert (table.locks, table.sessions) == ({}, {})


@pytest.mark.parametrize("number", [1, 2], ids=["older", "newest"])
def test_a_revision_folded_before_changes_nothing(number: int) -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)])
    before = repr(table)
    assert table.fold(Revision(number, [delete("a", 1), ended(1)])) == []
    assert repr(table) == before


@pytest.mark.parametrize("change", [delete("a", 9), delete("z", 1), ended(9), foreign_gone("a", "x")])
def test_the_deletion_of_what_is_not_there_changes_nothing(change: Change) -> None:
    table = folded([opened(1, 1)], [put("a", 1, 2)])
    assert then(table, change) == []
    assert queue(table) == [(1, True)]


def test_the_time_of_a_grant_is_noted() -> None:
    table = folded([put("a", 1, 1)])
    then(table, put("b", 1, 2, slot=1), at=12.5)
    then(table, put("a", 2, 3), at=13.5)
    assert [table.locks[name].entries[-1].granted_at for name in "ab"] == [None, 12.5]


def test_positions_count_the_waiters() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)], [put("a", 3, 3)])
    assert [table.position(entry) for entry in table.locks["a"].entries] == [0, 1, 2]


def test_a_resync_folds_the_difference() -> None:
    table = folded([opened(1, 1)], [opened(2, 2)], [put("a", 1, 3)], [put("a", 2, 4)], [put("b", 2, 5, slot=1)])
    snapshot = Snapshot(20, [put("b", 2, 5, slot=1), put("a", 3, 12), put("a", 2, 4)], [opened(3, 11), opened(2, 10)])
    assert told(table.fold(table.difference(snapshot))) == [
        "ended 1",
        "attached 3 at 11",
        "attached 2 at 10",
        "removed a/1 held: session ended",
        "granted a/2",
        "queued a/3",
    ]
    assert table.revision == 20


def test_a_resync_sees_that_an_entry_was_replaced() -> None:
    table = folded([put("a", 1, 1)])
    assert told(table.fold(table.difference(Snapshot(9, [put("a", 1, 7)], [opened(1, 1)])))) == [
        "removed a/1 held: deleted",
        "granted a/1",
    ]


def test_two_tables_of_one_history_read_the_same() -> None:
    history: list[list[Change]] = [[opened(1, 1)], [put("a", 1, 2)], [put("a", 2, 3, SHARED)]]
    assert repr(folded(*history)) == repr(folded(*history))
    assert "shared waiting token=3" in repr(folded(*history))
