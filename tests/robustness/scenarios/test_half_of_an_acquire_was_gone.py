"""An acquire of two locks, of which one entry was deleted before it was seen, was proposed over and over.

Both entries were committed and the answer was lost. One of them was deleted by hand, and the history in between was
gone from etcd, so the server began anew from a snapshot, which showed the other. The repetition found that there was
such an entry; the server did not find all of its own, took the one for what another acquire had left, which is being
deleted, and proposed both once more. That found the same, at once and for ever, a transaction of etcd each time.

It broke the promise that every waiter is granted or told. Since then what is left of such an acquire is deleted, and it
is told that it was removed; also when it is told that etcd did not take the repetition.
"""

import pytest

from lockstream_server.core.messages import AcquireAll, AcquirePart
from lockstream_server.core.model import Mode, Terms
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.waits import Waits
from lockstream_server.store.port import PutEntries, Verdict
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import SmallWorld, small_world
from tests.support.players import Stream

PARTS = [AcquirePart(name, Mode.EXCLUSIVE, Terms(parts=2)) for name in ("a", "b")]


def half_gone(world: SmallWorld) -> Stream:
    client = world.client()
    world.do(client.ask, AcquireAll(1, PARTS, "", None))
    world.repeat(PutEntries)
    [key] = world.keys("a")
    world.do(world.truth.delete_entry, "a", key)
    world.do(world.stores[0].break_feed)
    return client


def check_that_it_is_told(world: SmallWorld, client: Stream) -> None:
    assert client.refusals == {"REMOVED_EXTERNALLY": 1}, f"told nothing, with this on its way: {world.stores[0].sent}"
    world.quiesce()
    assert not world.keys("b")


def test_what_is_left_of_it_is_deleted() -> None:
    with small_world() as world:
        client = half_gone(world)
        world.commit(PutEntries)
        world.answer(PutEntries)
        check_that_it_is_told(world, client)


def test_what_is_left_of_it_is_deleted_when_it_is_not_taken() -> None:
    with small_world() as world:
        client = half_gone(world)
        world.turn_down(PutEntries, Verdict.NO_SPACE)
        check_that_it_is_told(world, client)


def test_as_it_was() -> None:
    with as_it_was(it_was_proposed_once_more, "told nothing, with this on its way: .*PutEntries"):
        test_what_is_left_of_it_is_deleted()


def it_was_proposed_once_more(patch: pytest.MonkeyPatch) -> None:
    def propose_again(self: Waits, claim: Claim, _token: int) -> None:
        claim.token = 0
        self.propose(claim)

    patch.setattr(Waits, "_lost_parts", propose_again)
