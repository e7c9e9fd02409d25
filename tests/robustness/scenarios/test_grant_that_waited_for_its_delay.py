"""An acquire was never answered, since the lease of its lock delay had ended before the delay was written.

A grant is told when its lock delay stands. Before that was committed its lease ended: an operator who looked for leases
without keys had revoked it. etcd takes nothing under a lease that is gone, and the server took that refusal for what it
mostly is, a session that was resumed elsewhere. So it waited for the fold to say so, and so did the client, behind a
lock that it had.

It broke the promise that every waiter is granted or told. Since then the delay is written anew, under another lease.
"""

import pytest

from lockstream_server.core.messages import Acquire
from lockstream_server.core.model import Mode, Terms
from lockstream_server.sessions import delays
from lockstream_server.sessions.host import RETRY_SECONDS
from lockstream_server.store.port import PutDelay, PutEntry
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_a_delay_without_its_lease_is_written_anew() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None, Terms(lock_delay=1.0)))
        world.commit(PutEntry)
        world.answer(PutEntry)
        world.pass_time(0.01)  # the delay has its lease
        delay = world.sent(PutDelay).proposal
        assert isinstance(delay, PutDelay)
        world.do(world.truth.revoke_lease, delay.lease)
        world.quiesce()
        assert not client.held, "it has no delay yet"
        world.pass_time(RETRY_SECONDS)
        world.quiesce()
        assert not client.asked, f"never answered: {client.asked}"
        assert {*client.held} == {1}
        assert len(world.keys("a")) == 2


def test_as_it_was() -> None:
    with as_it_was(a_refusal_was_for_the_fold_to_explain, "never answered"):
        test_a_delay_without_its_lease_is_written_anew()


def a_refusal_was_for_the_fold_to_explain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delays, "RETRY_SECONDS", float("inf"))
