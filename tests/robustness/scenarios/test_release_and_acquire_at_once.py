"""Whoever released a lock and acquired it again at once was told of a deadlock.

A holder sent the release and the next acquire of the same lock without waiting in between, while another waited for it.
The two writes went to etcd on their own, for they are of different keys, and the acquire got there first. So for a
moment the table showed a circle: the holder waited behind the other, who waited behind what the holder still had. The
acquire was refused with DEADLOCK, though its owner's release was on its way and would have ended that.

It broke the promise that nobody is called deadlocked who is not. Since then what is being deleted counts as gone.
"""

import pytest

from lockstream_server.core.messages import Acquire, Release
from lockstream_server.core.model import Mode
from lockstream_server.sessions.claim_book import ClaimBook
from lockstream_server.store.port import PutEntry
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_what_is_being_released_keeps_nobody_waiting() -> None:
    with small_world() as world:
        ada, bob = world.client(), world.client()
        world.do(ada.ask, Acquire(1, "a", Mode.EXCLUSIVE, "ada", None))
        world.quiesce()
        world.do(bob.ask, Acquire(1, "a", Mode.EXCLUSIVE, "bob", None))
        world.quiesce()
        world.do(ada.ask, Release(1, ada.held[1].token))
        world.do(ada.ask, Acquire(2, "a", Mode.EXCLUSIVE, "ada", None))
        world.commit(PutEntry)
        world.catch_up()
        world.answer(PutEntry)
        world.quiesce()
        assert not ada.refusals, f"refused, while its release was on its way: {dict(ada.refusals)}"
        assert (1 in bob.held, ada.queued) == (True, {2})


def test_as_it_was() -> None:
    with as_it_was(what_was_being_released_counted, "refused, while its release was on its way: .*DEADLOCK"):
        test_what_is_being_released_keeps_nobody_waiting()


def what_was_being_released_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClaimBook, "leaving", lambda _book: [])
