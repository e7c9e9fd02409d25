"""How long waiters may have to wait: a mean of recent holds, and how many of them are before each."""

import pytest

from lockstream_server.core.estimates import WEIGHT, HoldTimes, turns
from lockstream_server.core.model import Entry, EntryRecord, Mode, Terms

EXCLUSIVE = EntryRecord(1, Mode.EXCLUSIVE)
SHARED = EntryRecord(1, Mode.SHARED)
UPGRADE = EntryRecord(1, Mode.UPGRADE, terms=Terms(upgrades=1))


def permits(taken: int, limit: int = 4) -> EntryRecord:
    return EntryRecord(1, Mode.PERMITS, terms=Terms(permits=taken, limit=limit))


def queue(*records: EntryRecord, holding: int = 1) -> list[Entry]:
    entries = [Entry("a", f"{token}", token, record, token) for token, record in enumerate(records, 1)]
    for entry in entries[:holding]:
        entry.granted = True
    return entries


def ended(times: HoldTimes, seconds: float, name: str = "a") -> None:
    """A hold of so many seconds ends."""
    entry = Entry(name, "1", 1, EXCLUSIVE, 1)
    entry.granted, entry.granted_at = True, 1000.0
    times.removed(entry, 1000.0 + seconds)


def test_nothing_is_known_of_a_name_that_was_never_held() -> None:
    times = HoldTimes()
    ended(times, 2.0, "b")
    assert times.mean("a") is None


def test_the_first_hold_is_the_mean() -> None:
    times = HoldTimes()
    ended(times, 2.0)
    assert times.mean("a") == 2.0


def test_later_holds_move_the_mean() -> None:
    times = HoldTimes()
    ended(times, 2.0)
    ended(times, 4.0)
    assert times.mean("a") == 2.0 + WEIGHT * 2.0
    for _ in range(50):
        ended(times, 10.0)
    assert times.mean("a") == pytest.approx(10.0, rel=1e-3)


def test_a_clock_that_was_set_back_makes_no_negative_hold() -> None:
    times = HoldTimes()
    ended(times, -5.0)
    assert times.mean("a") == 0.0


def test_a_waiter_that_leaves_and_a_grant_unseen_are_no_holds() -> None:
    times = HoldTimes()
    times.removed(Entry("a", "1", 1, EXCLUSIVE, 1), 1000.0)
    unseen = Entry("a", "1", 1, EXCLUSIVE, 1)
    unseen.granted = True
    times.removed(unseen, 1000.0)
    assert times.mean("a") is None


def test_only_so_many_names_are_known_the_last_held() -> None:
    times = HoldTimes(names=2)
    for name in ("a", "b", "a", "c"):
        ended(times, 1.0, name)
    assert [times.mean(name) for name in "abc"] == [1.0, None, 1.0]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param(queue(EXCLUSIVE), [], id="nobody waits"),
        pytest.param(queue(EXCLUSIVE, EXCLUSIVE, EXCLUSIVE, EXCLUSIVE), [1, 2, 3], id="writers go one by one"),
        pytest.param(queue(EXCLUSIVE, SHARED, SHARED, SHARED), [1, 1, 1], id="readers go together"),
        pytest.param(queue(EXCLUSIVE, SHARED, SHARED, EXCLUSIVE, SHARED), [1, 1, 2, 3], id="but not past a writer"),
        pytest.param(queue(SHARED, SHARED, EXCLUSIVE, holding=2), [1], id="those who share hold at once"),
        pytest.param(queue(SHARED, UPGRADE, SHARED), [1, 2], id="an upgrade is a writer"),
        pytest.param(queue(permits(4), permits(1), permits(3)), [0.25, 1], id="permits come free one by one"),
        pytest.param(
            queue(permits(2), permits(3), permits(1)), [0.25, 0.5], id="what is free already is not waited for"
        ),
        pytest.param(queue(EXCLUSIVE, permits(1), permits(3), permits(2)), [1, 1, 1.5], id="permits behind a writer"),
        pytest.param(queue(permits(4), permits(4), EXCLUSIVE), [1, 2], id="a writer behind permits"),
        pytest.param(queue(permits(1), EXCLUSIVE, permits(1)), [1, 2], id="permits behind a writer behind permits"),
    ],
)
def test_each_waiter_waits_for_the_turns_before_it(entries: list[Entry], expected: list[float]) -> None:
    assert list(turns(entries)) == expected
