"""An acquire that had been written, and was held, was ended as one that had failed.

An acquire was committed and its answer lost. The watch showed the entry, and its client was told that it held. Then the
repetition of the acquire found etcd out of space, or was refused, which was taken for: nothing was written. The server
told the client that its wait had ended, though it did not wait any more, and forgot the claim. One that was cancelled
in the meantime was forgotten in the same way.

It broke the promises that each claim is told once how it ended, and that a release frees the lock: nobody could release
what was written, and it was taken for as long as the session lived. Since then what the watch has shown counts.
"""

import pytest

from lockstream_server.core.errors import LockError
from lockstream_server.core.messages import Acquire, Cancel, Release
from lockstream_server.core.model import Mode
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.waits import Waits
from lockstream_server.store.port import PutEntry, Verdict
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


@pytest.mark.parametrize("verdict", [Verdict.NO_SPACE, Verdict.FAILED])
def test_an_acquire_that_the_watch_has_shown_goes_on(verdict: Verdict) -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.repeat(PutEntry)
        world.catch_up()
        world.turn_down(PutEntry, verdict)
        world.quiesce()
        assert {*client.held} == {1}, f"told of its end: {dict(client.refusals)}"
        world.do(client.ask, Release(1, client.held[1].token))
        world.quiesce()
        assert not world.keys("a")


def test_an_acquire_that_was_cancelled_is_deleted() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.repeat(PutEntry)
        world.do(client.ask, Cancel(1))
        world.catch_up()
        world.turn_down(PutEntry, Verdict.NO_SPACE)
        world.quiesce()
        assert not client.asked
        assert not world.keys("a"), "taken by nobody"


def test_as_it_was() -> None:
    with as_it_was(whatever_was_not_taken_was_not_written, "told of what it does not await: WaitEnded"):
        test_an_acquire_that_the_watch_has_shown_goes_on(Verdict.NO_SPACE)


def test_as_it_was_when_cancelled() -> None:
    with as_it_was(whatever_was_not_taken_was_not_written, "taken by nobody"):
        test_an_acquire_that_was_cancelled_is_deleted()


def whatever_was_not_taken_was_not_written(patch: pytest.MonkeyPatch) -> None:
    def refuse(self: Waits, claim: Claim, why: LockError) -> None:
        self._endings.refuse(claim, why)

    patch.setattr(Waits, "_not_taken", refuse)
