"""Session states, and how long a lease is proven."""

import pytest

from lockstream_server.core.session import TRANSITIONS, LeaseProof, Phase, Standing


def test_every_phase_says_what_may_follow() -> None:
    assert set(TRANSITIONS) == set(Phase)


def test_nothing_follows_the_end_and_nothing_becomes_attached_again() -> None:
    assert TRANSITIONS[Phase.ENDED] == frozenset()
    assert all(Phase.ATTACHED not in following for following in TRANSITIONS.values())


def test_a_renewal_proves_the_lease_from_when_it_was_sent() -> None:
    proof = LeaseProof(10, sent_at=100)
    proof.renewed(104)
    assert proof.until == 114


def test_a_late_confirmation_never_shortens_the_proof() -> None:
    proof = LeaseProof(10, sent_at=100)
    proof.renewed(104)
    proof.renewed(102)
    assert proof.until == 114


@pytest.mark.parametrize(
    ("now", "standing", "remaining"),
    [
        (100.0, Standing.SAFE, 10.0),
        (104.9, Standing.SAFE, 5.1),
        (105.0, Standing.JEOPARDY, 5.0),
        (109.9, Standing.JEOPARDY, 0.1),
        (110.0, Standing.UNPROVEN, 0.0),
        (999.0, Standing.UNPROVEN, 0.0),
    ],
)
def test_standing(now: float, standing: Standing, remaining: float) -> None:
    proof = LeaseProof(10, sent_at=100)
    assert proof.standing(now) is standing
    assert proof.remaining(now) == pytest.approx(remaining)


def test_jeopardy_begins_half_a_ttl_before_the_end() -> None:
    assert LeaseProof(10, sent_at=100).jeopardy_at == 105
