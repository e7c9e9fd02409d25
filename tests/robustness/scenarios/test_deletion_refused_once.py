"""A deletion that etcd refused once was never tried again.

etcd refuses what the server's user may not do; an operator who works on permissions can take a right away for a moment.
A late first attempt had written an entry that nobody wanted, and its deletion was refused: the lock was taken, by
nobody, for as long as the session lived. Worse with a release of several locks, of which one deletion was refused and
the others were not: the server called the whole held again, and refused the release, though others had some of them by
then. And a wait whose time was over was put back without a timer, and went on for ever.

It broke the promises that a release frees the lock, and that a wait ends in its time. Since then what is to be deleted
is tried again until it is.
"""

# ruff: noqa: SLF001 - what was broken lies inside

import pytest

from lockstream_server.core.messages import Acquire, AcquireAll, AcquirePart, Release, WaitEnded
from lockstream_server.core.model import Entry, Mode, Terms
from lockstream_server.sessions import refusals
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.endings import Endings
from lockstream_server.sessions.outcomes import RETRY_SECONDS
from lockstream_server.store.port import DeleteEntry, Outcome, Part, PutEntry, Verdict
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_an_entry_that_nobody_wants_is_deleted_in_the_end() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.lose(PutEntry)
        world.quiesce()
        world.do(client.ask, Release(1, client.held[1].token))
        world.quiesce()
        world.land()
        world.catch_up()
        world.turn_down(DeleteEntry, Verdict.FAILED)
        world.pass_time(RETRY_SECONDS)
        world.quiesce()
        assert not world.keys("a"), "taken by nobody"


def test_a_release_of_several_locks_is_completed() -> None:
    with small_world() as world:
        [store] = world.stores
        client = world.client()
        parts = [AcquirePart(name, Mode.EXCLUSIVE, Terms(parts=2)) for name in ("a", "b")]
        world.do(client.ask, AcquireAll(1, parts, "", None))
        world.quiesce()
        world.do(client.ask, Release(1, client.held[1].token))
        of_a, of_b = store.sent
        world.do(store.commit, of_a)
        world.do(store.tell, of_a)
        world.catch_up()
        world.do(store.turn_down, of_b, Verdict.FAILED)
        world.do(store.tell, of_b)
        world.pass_time(RETRY_SECONDS)
        world.quiesce()
        assert not world.keys("a")
        assert not world.keys("b"), f"half of what was released is still taken, and told: {dict(client.refusals)}"
        assert not client.refusals
        assert not client.asked


def test_a_wait_that_was_too_long_ends_in_the_end() -> None:
    with small_world() as world:
        holder, waiter = world.client(), world.client()
        world.do(holder.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.quiesce()
        world.do(waiter.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", wait=0.5))
        world.quiesce()
        world.pass_time(0.5)
        world.turn_down(DeleteEntry, Verdict.FAILED)
        world.pass_time(RETRY_SECONDS)
        world.quiesce()
        assert len(world.keys("a")) == 1, f"it waits for ever: {waiter}"
        assert [type(told) for told in waiter.happenings] == [WaitEnded]


def test_as_it_was_for_what_nobody_wants() -> None:
    with as_it_was(nobody_looked_at_what_became_of_it, "taken by nobody"):
        test_an_entry_that_nobody_wants_is_deleted_in_the_end()


def test_as_it_was_for_several() -> None:
    with as_it_was(what_could_not_be_deleted_was_held, "half of what was released is still taken"):
        test_a_release_of_several_locks_is_completed()


def test_as_it_was_for_a_wait() -> None:
    with as_it_was(what_could_not_be_deleted_was_held, "it waits for ever"):
        test_a_wait_that_was_too_long_ends_in_the_end()


def nobody_looked_at_what_became_of_it(patch: pytest.MonkeyPatch) -> None:
    def whatever_becomes_of_it(_self: Endings, _entry: Entry, _outcome: Outcome) -> None: ...

    patch.setattr(Endings, "_discarded", whatever_becomes_of_it)


def what_could_not_be_deleted_was_held(patch: pytest.MonkeyPatch) -> None:
    deleted = Endings._deleted

    def or_held_again(self: Endings, claim: Claim, part: Part, outcome: Outcome) -> None:
        if outcome.verdict is not Verdict.FAILED:
            deleted(self, claim, part, outcome)
            return
        for request, _ in claim.leavers or ():
            self._outbox.reply(request, refusals.by_store(outcome.verdict))
        claim.leavers = None
        claim.state = State.HELD if claim.granted else State.WAITING
        self._book.add(claim)

    patch.setattr(Endings, "_deleted", or_held_again)
