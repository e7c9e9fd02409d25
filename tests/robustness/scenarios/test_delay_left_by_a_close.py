"""A client that closed while its lock delay was being written left the name taken for as long as that.

A client acquired a lock with a delay, which protects whoever comes next from a holder that vanishes. The delay was
written; before its server had heard so, the client closed its session in good order. The close freed the delays that
were known to stand. This one stayed, under its own lease, for up to ten minutes.

It broke the promise that a client which says goodbye frees its locks at once. Since then a delay is known from the
moment at which it has its lease.
"""

import pytest

from lockstream_server.core.messages import Acquire, Close
from lockstream_server.core.model import Mode, Terms
from lockstream_server.sessions.claim import State
from lockstream_server.sessions.claims import Claims
from lockstream_server.store.port import PutDelay, PutEntry
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_a_close_frees_a_delay_that_is_being_written() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None, Terms(lock_delay=60.0)))
        world.commit(PutEntry)
        world.answer(PutEntry)
        world.pass_time(0.01)  # the delay has its lease
        world.commit(PutDelay)
        assert len(world.keys("a")) == 2
        world.do(client.ask, Close())
        world.quiesce()
        assert client.state == "over"
        assert not world.keys("a"), f"taken by nobody for a minute: {world.keys('a')}"


def test_as_it_was() -> None:
    with as_it_was(only_what_stood_was_known, "taken by nobody for a minute"):
        test_a_close_frees_a_delay_that_is_being_written()


def only_what_stood_was_known(patch: pytest.MonkeyPatch) -> None:
    def of_those_told(self: Claims) -> list[int]:
        return [claim.delay_lease for claim in self._book.by_acquire.values() if claim.state is State.HELD]

    patch.setattr(Claims, "delay_leases", of_those_told)
