"""The planner: what is added, taken, settled, and what may then go."""

import pytest

from lockstream_server.core.model import EntryRecord
from lockstream_server.store.batch import Planner, Ticket, check_batch
from lockstream_server.store.port import (
    Attachment,
    DeleteEntry,
    DeleteSession,
    Evict,
    Proposal,
    PutEntry,
    TakeOverSession,
)
from tests.support.history import RECORD
from tests.unit.store.test_keys import FOREIGN


def create(name: str, session: int, slot: int = 0) -> PutEntry:
    return PutEntry(Attachment(session, 1), name, slot, EntryRecord(1), only_if_free=False)


def leave(name: str, session: int, slot: int = 0) -> DeleteEntry:
    return DeleteEntry(Attachment(session, 1), name, slot, 1)


def evict(name: str, key: str) -> Evict:
    return Evict(name, key, 1, None, 0)


def planner(*proposals: Proposal, limit: int = 10) -> Planner:
    planner = Planner(limit)
    for proposal in proposals:
        planner.add(Ticket(proposal, print))
    return planner


def take(planner: Planner) -> list[Proposal]:
    return [ticket.proposal for ticket in planner.take()]


def test_nothing_is_ready_at_first() -> None:
    assert not planner().ready
    assert take(planner()) == []


def test_proposals_go_in_their_order() -> None:
    proposals: list[Proposal] = [create("a", 1), leave("b", 2), create("c", 3)]
    assert take(planner(*proposals)) == proposals


def test_no_more_go_than_the_limit() -> None:
    waiting = planner(create("a", 1), create("b", 2), create("c", 3), limit=2)
    assert len(take(waiting)) == 2
    assert len(waiting) == 1
    assert len(take(waiting)) == 1


def test_one_creation_of_a_name_goes_at_a_time() -> None:
    first, second, other = create("a", 1), create("a", 2), create("b", 3)
    waiting = planner(first, second, other)
    assert take(waiting) == [first, other]
    assert take(waiting) == [second]


def test_a_deletion_goes_beside_a_creation_of_the_same_name() -> None:
    proposals: list[Proposal] = [create("a", 1), leave("a", 2)]
    assert take(planner(*proposals)) == proposals


def test_a_proposal_waits_for_the_one_before_it_on_its_entry() -> None:
    first, second = create("a", 1), leave("a", 1)
    waiting = planner(first, second)
    [ticket] = waiting.take()
    assert ticket.proposal is first
    assert not waiting.ready
    waiting.settled(ticket)
    assert take(waiting) == [second]


def test_two_who_take_over_one_session_do_so_in_turn() -> None:
    """A transaction that writes a record twice is refused, with all that others have in it."""
    first, second, end = (
        TakeOverSession(1, 1, RECORD),
        TakeOverSession(1, 1, RECORD),
        DeleteSession(Attachment(1, 1)),
    )
    other = TakeOverSession(2, 1, RECORD)
    waiting = planner(first, second, end, other)
    for expected in ([first, other], [second], [end]):
        batch = waiting.take()
        assert [ticket.proposal for ticket in batch] == expected
        assert not waiting.ready
        for ticket in batch:
            waiting.settled(ticket)


def test_an_entry_is_evicted_in_its_turn() -> None:
    waiting = planner(create("a", 0xAB, slot=1), evict("a", "00000000000000ab.1"))
    [ticket] = waiting.take()
    waiting.settled(ticket)
    assert len(take(waiting)) == 1


@pytest.mark.parametrize("key", FOREIGN)
def test_a_foreign_entry_waits_for_nobody(key: str) -> None:
    """However its key looks."""
    proposals: list[Proposal] = [create("a", 1), create("b", 0xAB, slot=1), evict("a", key), evict("b", key)]
    assert take(planner(*proposals)) == proposals


def test_sessions_wait_for_nobody() -> None:
    proposals: list[Proposal] = [DeleteSession(Attachment(1, 1)), DeleteSession(Attachment(2, 1))]
    assert take(planner(*proposals)) == proposals


@pytest.mark.parametrize(
    "batch",
    [[create("a", 1), create("a", 2)], [create("a", 1), leave("a", 1)], [leave("a", 1), leave("a", 1)]],
    ids=["two creations of a name", "an entry created and deleted", "an entry deleted twice"],
)
def test_a_batch_that_would_grant_twice_is_never_sent(batch: list[Proposal]) -> None:
    with pytest.raises(AssertionError, match="same state"):
        check_batch([Ticket(proposal, print) for proposal in batch])
