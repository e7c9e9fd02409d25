"""Quotas: who asks for too much is told which limit, what it is, and what is had now."""

import pytest

from lockstream_server.core.changes import Revision, SessionPut
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.table import Table
from lockstream_server.sessions.quotas import Bucket, Clients, Quotas
from tests.support.history import RECORD, put

FIRST, SECOND, OTHER = 1, 2, 3


def clients(quotas: Quotas, *entries: tuple[str, int]) -> Clients:
    """A client `worker` with two sessions and these entries, each a name and a session; and another client."""
    table = Table()
    records = {FIRST: RECORD, SECOND: RECORD, OTHER: RECORD._replace(client_name="other")}
    table.fold(Revision(1, [SessionPut(session, record, 1) for session, record in records.items()]))
    for number, (name, session) in enumerate(entries, start=2):
        table.fold(Revision(number, [put(name, session, number, slot=number)]))
    found = Clients(table, quotas)
    for session, record in records.items():
        found.attached(session, record.client_name)
    return found


def refused(error: LockError) -> tuple[str, str, str]:
    """The limit that was met, its value and the figure now."""
    assert error.reason is Reason.QUOTA_EXCEEDED
    return error.metadata["limit"], error.metadata["maximum"], error.metadata["current"]


def test_without_quotas_nothing_is_refused() -> None:
    one = clients(Quotas(), ("a", FIRST), ("a", SECOND))
    one.check_open("worker", opening=1000)
    one.check_acquire("worker", ["a"] * 1000, unseen=1000)
    for _ in range(1000):
        one.check_rate("worker", now=0.0)


def test_sessions_of_a_client_are_counted_with_those_that_are_opening() -> None:
    one = clients(Quotas(sessions=3))
    one.check_open("worker", opening=0)
    with pytest.raises(LockError) as caught:
        one.check_open("worker", opening=1)
    assert refused(caught.value) == ("sessions_per_client", "3", "3")
    one.check_open("other", opening=1)


def test_a_session_that_ended_makes_room() -> None:
    one = clients(Quotas(sessions=2))
    one.ended(FIRST)
    one.check_open("worker", opening=0)


def test_a_session_that_is_attached_again_counts_once() -> None:
    one = clients(Quotas(sessions=3))
    one.attached(FIRST, "worker")
    one.check_open("worker", opening=0)


def test_entries_are_counted_over_all_sessions_of_a_client() -> None:
    one = clients(Quotas(entries=3), ("a", FIRST), ("b", SECOND), ("c", OTHER))
    one.check_acquire("worker", ["d"], unseen=0)
    with pytest.raises(LockError) as caught:
        one.check_acquire("worker", ["d"], unseen=1)
    assert refused(caught.value) == ("entries_per_client", "3", "3")
    with pytest.raises(LockError) as caught:
        one.check_acquire("worker", ["d", "e"], unseen=0)
    assert refused(caught.value) == ("entries_per_client", "3", "2")
    one.check_acquire("other", ["d", "e"], unseen=0)


def test_waiters_for_a_name_do_not_count_its_holder_nor_other_clients() -> None:
    one = clients(Quotas(waiters_per_lock=1), ("a", FIRST), ("a", OTHER))
    one.check_acquire("worker", ["a"], unseen=0)
    with pytest.raises(LockError) as caught:
        one.check_acquire("other", ["a"], unseen=0)
    assert refused(caught.value) == ("waiters_per_lock_and_client", "1", "1")
    one.check_acquire("other", ["b"], unseen=0)


def test_a_rate_lets_a_second_s_worth_through_at_once_and_then_as_many_each_second() -> None:
    one = clients(Quotas(requests_per_second=2))
    for now in (10.0, 10.0, 10.5, 11.0, 11.5):
        one.check_rate("worker", now)
    with pytest.raises(LockError) as caught:
        one.check_rate("worker", now=11.75)
    assert refused(caught.value) == ("requests_per_second", "2", "2")
    one.check_rate("other", now=11.75)


def test_a_rate_below_one_lets_a_request_through_now_and_then() -> None:
    bucket = Bucket(0.5, now=0.0)
    assert [bucket.take(0.5, now) for now in (0.0, 1.0, 2.0, 100.0, 100.0)] == [True, False, True, True, False]
