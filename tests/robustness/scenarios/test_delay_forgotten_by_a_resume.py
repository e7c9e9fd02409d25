"""The lock delay of a resumed hold ended in silence.

A lock delay has a lease of its own, which is renewed with that of its session. Nobody renews either while the session
is detached. A resume renewed the session's at once, for that may be about to end; the delay's had to wait for the next
renewal of both, a third of a TTL later, and could have ended by then. The answer to that renewal, that there was no
such lease, was dropped. The server went on as if the delay stood: the hold was lost later, with its session, and the
next in line had the lock at once.

It broke the promise that a lock delay lasts. Since then whoever resumes renews both, and a delay whose lease has ended,
for whatever reason, is written anew.
"""

import pytest

from lockstream_server.core.messages import Acquire
from lockstream_server.core.model import Entry, Mode, Terms
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.delays import Delays
from lockstream_server.store.keys import delay_id
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import SmallWorld, small_world
from tests.support.players import TTL, Stream

DELAY = 0.5
"""Seconds; with the TTL they make a lease of one second more than the TTL."""


def a_hold(world: SmallWorld) -> Stream:
    client = world.client()
    world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None, Terms(lock_delay=DELAY)))
    world.quiesce()
    assert len(world.keys("a")) == 2
    return client


def check_that_it_stands(world: SmallWorld) -> None:
    world.quiesce()
    entry, *beside = world.keys("a")
    assert beside == [delay_id(entry)], f"the hold has no lock delay: {beside}"


def test_a_resume_renews_the_delay_as_well() -> None:
    with small_world(servers=2) as world:
        client = a_hold(world)
        world.do(client.cut)
        world.pass_time(TTL - 0.5)
        back = world.resume(client, server=1)
        world.quiesce()
        assert {*back.held} == {1}
        world.pass_time(1.6)  # the lease would have ended, and the next renewal is still to come
        check_that_it_stands(world)


def test_a_delay_whose_lease_has_ended_is_written_anew() -> None:
    with small_world() as world:
        client = a_hold(world)
        [_, delay] = world.do(world.truth.read_lock, "a").entries
        world.do(world.truth.revoke_lease, delay.record.terms.delay_lease)
        world.quiesce()
        assert len(world.keys("a")) == 1
        world.pass_time(TTL / 3)  # it is to be renewed
        check_that_it_stands(world)
        assert {*client.held} == {1}


def test_as_it_was_when_resumed() -> None:
    with as_it_was(a_resume_left_the_delay_to_the_next_renewal, "the hold has no lock delay"):
        test_a_resume_renews_the_delay_as_well()


def test_as_it_was_when_renewed() -> None:
    with as_it_was(nobody_heard_that_the_lease_had_ended, "the hold has no lock delay"):
        test_a_delay_whose_lease_has_ended_is_written_anew()


def a_resume_left_the_delay_to_the_next_renewal(patch: pytest.MonkeyPatch) -> None:
    adopt, renew = Delays.adopt, Delays.renew

    def without_renewal(self: Delays, claim: Claim, entry: Entry) -> None:
        patch.setattr(Delays, "renew", lambda _self, _claim: None)
        adopt(self, claim, entry)
        patch.setattr(Delays, "renew", renew)

    patch.setattr(Delays, "adopt", without_renewal)


def nobody_heard_that_the_lease_had_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delays, "_renewed", lambda _self, _claim, _lease, _alive: None)
