"""The grant rule: may this entry join those who hold, and must a new one be refused?"""

import pytest

from lockstream_server.core.errors import Reason
from lockstream_server.core.model import Entry, EntryRecord, Mode
from lockstream_server.core.rules import RULES, Holders, refusal
from tests.support.history import EXCLUSIVE, SHARED, permits, upgrade

X, S = EXCLUSIVE, SHARED


def entries(*records: EntryRecord) -> list[Entry]:
    """A queue of these, with tokens from 1."""
    return [Entry("a", f"{token:016x}.0", token, record, token) for token, record in enumerate(records, 1)]


@pytest.mark.parametrize(
    ("holders", "candidate", "admitted"),
    [
        ([X], X, False),
        ([S], X, False),
        ([S, S], X, False),
        ([permits(1, 5)], X, False),
        ([X], S, False),
        ([S], S, True),
        ([S, S], S, True),
        ([permits(1, 5)], S, False),
        ([S, upgrade(1)], S, False),
        ([X], permits(1, 5), False),
        ([S], permits(1, 5), False),
        ([permits(1, 5)], permits(4, 5), True),
        ([permits(1, 5)], permits(5, 5), False),
        ([permits(2, 5), permits(2, 5)], permits(1, 5), True),
        ([permits(2, 5), permits(2, 5)], permits(2, 5), False),
        ([permits(1, 5)], permits(1, 6), False),
        ([S], upgrade(1), True),
        ([S, S], upgrade(1), False),
        ([S, S], upgrade(2), False),
        ([S], upgrade(7), False),
        ([X], upgrade(7), False),
        ([permits(1, 5)], upgrade(7), False),
    ],
)
def test_who_may_join(holders: list[EntryRecord], candidate: EntryRecord, admitted: bool) -> None:
    *holding, asking = entries(*holders, candidate)
    taken = sum(holder.record.terms.permits for holder in holding)
    assert RULES[candidate.mode](Holders(len(holding), holding[0], holding[-1], taken), asking) is admitted


def test_every_mode_has_a_rule() -> None:
    assert set(RULES) == set(Mode)


@pytest.mark.parametrize(
    ("before", "candidate"),
    [
        ([], X),
        ([X, S, permits(1, 5)], X),
        ([X, permits(1, 5), X], S),
        ([X, S, permits(1, 5)], permits(5, 5)),
        ([X, permits(1, 5), permits(1, 6)], permits(1, 5)),
        ([S], upgrade(1)),
        ([S, S, S], upgrade(2)),
    ],
)
def test_who_may_wait(before: list[EntryRecord], candidate: EntryRecord) -> None:
    *others, asking = entries(*before, candidate)
    assert refusal(others, asking) is None


@pytest.mark.parametrize(
    ("before", "candidate", "reason", "because_of"),
    [
        ([permits(1, 5)], permits(1, 6), Reason.LIMIT_MISMATCH, 1),
        ([X, permits(1, 5), permits(1, 6)], permits(1, 6), Reason.LIMIT_MISMATCH, 2),
        ([S, X], upgrade(1), Reason.UPGRADE_CONFLICT, 2),
        ([S, S, upgrade(1)], upgrade(2), Reason.UPGRADE_CONFLICT, 3),
        ([S, permits(1, 5), S], upgrade(1), Reason.UPGRADE_CONFLICT, 2),
    ],
)
def test_who_is_refused_and_because_of_whom(
    before: list[EntryRecord], candidate: EntryRecord, reason: Reason, because_of: int
) -> None:
    *others, asking = entries(*before, candidate)
    assert refusal(others, asking) == (reason, others[because_of - 1])
