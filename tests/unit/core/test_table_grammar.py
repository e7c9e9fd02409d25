"""The fold of everything beyond plain locks: permits, upgrades, rewritten entries, evictions."""

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.core.effects import Cause, Ended, Removed, Rewritten
from lockstream_server.core.model import Terms
from lockstream_server.core.table import Table
from tests.support.history import (
    EXCLUSIVE,
    SHARED,
    delete,
    ended,
    eviction,
    opened,
    permits,
    put,
    recorded,
    session_eviction,
    told,
    upgrade,
)
from tests.unit.core.test_table import folded, queue, then

# Permits.


def test_permits_are_granted_as_long_as_there_are_enough() -> None:
    table = folded([put("a", 1, 1, permits(2, 3))])
    assert then(table, put("a", 2, 2, permits(1, 3))) == ["granted a/2"]
    assert then(table, put("a", 3, 3, permits(1, 3))) == ["queued a/3"]
    assert table.locks["a"].permits == 3


def test_a_heavy_waiter_is_not_overtaken_by_a_light_one() -> None:
    table = folded([put("a", 1, 1, permits(2, 3))], [put("a", 2, 2, permits(3, 3))])
    assert then(table, put("a", 3, 3, permits(1, 3))) == ["queued a/3"]
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted", "granted a/2"]
    assert then(table, delete("a", 2)) == ["removed a/2 held: deleted", "granted a/3"]


def test_a_withdrawn_heavy_waiter_lets_light_ones_in() -> None:
    table = folded([put("a", 1, 1, permits(2, 3))], [put("a", 2, 2, permits(3, 3))], [put("a", 3, 3, permits(1, 3))])
    assert then(table, delete("a", 2)) == ["removed a/2 waiting: deleted", "granted a/3"]


def test_permits_of_another_limit_wait_their_turn() -> None:
    table = folded([put("a", 1, 1, permits(1, 3))])
    assert then(table, put("a", 2, 2, permits(1, 4))) == ["queued a/2"]
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted", "granted a/2"]


def test_permits_and_locks_exclude_each_other() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 2, 2, permits(1, 3))])
    assert then(table, put("a", 3, 3, SHARED)) == ["queued a/3"]
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted", "granted a/2"]
    assert queue(table) == [(2, True), (3, False)]


def test_a_holder_whose_key_is_damaged_gives_its_permits_back_once() -> None:
    table = folded([put("a", 1, 1, permits(2, 3))], [put("a", 2, 2, permits(3, 3))])
    then(table, put("a", 1, 1, EXCLUSIVE))
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted", "granted a/2"]
    assert table.locks["a"].permits == 3


# Upgrade and downgrade.


def test_an_upgrade_waits_for_the_other_readers() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 2, 2, SHARED)])
    assert then(table, put("a", 1, 3, upgrade(1), slot=1)) == ["queued a/1"]
    assert then(table, delete("a", 2)) == ["removed a/2 held: deleted", "granted a/1"]
    assert queue(table) == [(1, True), (1, True)]


def test_an_upgrade_that_waits_keeps_later_readers_out() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 2, 2, SHARED)], [put("a", 1, 3, upgrade(1), slot=1)])
    assert then(table, put("a", 3, 4, SHARED)) == ["queued a/3"]
    assert then(table, delete("a", 1, 1)) == ["removed a/1 waiting: deleted", "granted a/3"]


def test_an_upgrade_holds_on_without_its_shared_hold() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 1, 2, upgrade(1), slot=1)], [put("a", 2, 3, SHARED)])
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted"]
    assert queue(table) == [(1, True), (2, False)]


def test_a_downgrade_keeps_place_and_token_and_lets_readers_in() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2, SHARED)], [put("a", 3, 3)], [put("a", 4, 4, SHARED)])
    effects = table.fold(Revision(5, [put("a", 1, 1, SHARED)]))
    assert told(effects) == ["rewritten a/1", "granted a/2"]
    [rewritten, _] = effects
    assert isinstance(rewritten, Rewritten)
    assert (rewritten.before, rewritten.entry.record, rewritten.entry.token) == (EXCLUSIVE, SHARED, 1)
    assert queue(table) == [(1, True), (2, True), (3, False), (4, False)]


def test_an_upgrade_may_become_shared_again() -> None:
    table = folded([put("a", 1, 1, SHARED)], [put("a", 1, 2, upgrade(1), slot=1)], [put("a", 2, 3, SHARED)])
    assert then(table, put("a", 1, 2, SHARED, slot=1)) == ["rewritten a/1", "granted a/2"]


def test_a_new_value_is_told_and_changes_nothing_else() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)])
    said = EXCLUSIVE._replace(terms=Terms(value=b"here"))
    assert then(table, put("a", 1, 1, said)) == ["rewritten a/1"]
    assert then(table, put("a", 1, 1, said)) == [], "the same once more says nothing new"
    assert queue(table) == [(1, True), (2, False)]


# Evictions.


def test_an_eviction_is_the_cause_of_the_loss_in_its_revision() -> None:
    table = folded([put("a", 1, 1)], [put("a", 2, 2)])
    record = eviction("a", 1, 1)
    [removed, granted] = table.fold(Revision(3, [delete("a", 1), recorded(record)]))
    assert isinstance(removed, Removed)
    assert (removed.cause, removed.eviction) == (Cause.EVICTED, record)
    assert told([granted]) == ["granted a/2"]
    assert table.evictions == {"0000000000000001.1": record}


def test_an_eviction_is_not_the_cause_of_what_else_is_deleted() -> None:
    table = folded([put("a", 1, 1)], [put("b", 1, 2)])
    assert then(table, delete("b", 1), recorded(eviction("a", 1, 1)), delete("a", 1)) == [
        "removed b/1 held: deleted",
        "removed a/1 held: evicted",
    ]
    assert then(table, put("a", 1, 4)) == ["granted a/1"]
    assert then(table, delete("a", 1)) == ["removed a/1 held: deleted"], "nor of what comes later"


def test_who_ended_a_session_is_the_cause_of_all_its_losses() -> None:
    table = folded([opened(1, 1)], [put("a", 1, 2)])
    record = session_eviction(1)
    effects = table.fold(Revision(3, [ended(1), recorded(record)]))
    assert effects == [Ended(1, record)]
    [removed] = table.fold(Revision(4, [delete("a", 1)]))
    assert isinstance(removed, Removed)
    assert (removed.cause, removed.eviction) == (Cause.EVICTED, record)


def test_what_was_evicted_while_the_history_was_lost_is_told_so() -> None:
    table = folded([opened(1, 1)], [put("a", 1, 2)], [opened(2, 3)], [put("b", 2, 4)])
    one, other = eviction("a", 1, 2), session_eviction(2)
    effects = table.fold(table.difference(Snapshot(9, [], [opened(1, 1)], [recorded(one), recorded(other)])))
    assert told(effects) == ["ended 2 by operator", "removed a/1 held: evicted", "removed b/2 held: evicted"]
    assert set(table.evictions.values()) == {one, other}
    assert table.fold(table.difference(Snapshot(20, [], [opened(1, 1)]))) == []
    assert table.evictions == {}


# Several at once.


def test_acquires_of_several_names_have_one_place_in_every_queue() -> None:
    table = Table()
    assert then(table, put("a", 2, 1), put("b", 2, 1)) == ["granted a/2", "granted b/2"]
    assert then(table, put("b", 1, 2), put("a", 1, 2)) == ["queued b/1", "queued a/1"]
    assert then(table, put("a", 3, 3), put("b", 3, 3)) == ["queued a/3", "queued b/3"]
    for name in "ab":
        assert [session for session, _ in queue(table, name)] == [2, 1, 3]
