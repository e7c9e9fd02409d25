"""A grant was told after its eviction.

An acquire with a lock delay was first in its queue. While the server wrote the delay, which has to stand before the
grant is told, an operator took the lock away. The delay was written a moment before that, the news of the eviction came
first, and then came the delay's outcome: the client, which had just been told that its acquire had ended, was told that
it held the lock. So did the next in line.

It broke mutual exclusion as clients see it, and the promise that a claim is told of its end once. Since then whoever
goes on when the delay stands looks whether the claim is still to be granted.
"""

# ruff: noqa: SLF001 - what was broken lies inside

from contextlib import suppress

import pytest

from lockstream_server.core.errors import LockError
from lockstream_server.core.messages import Acquire
from lockstream_server.core.model import Mode, Terms
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.delays import Delays
from lockstream_server.sessions.operator import Operator
from lockstream_server.sessions.waits import Waits
from lockstream_server.store.port import Evict, PutDelay, PutEntry
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import SmallWorld, small_world


async def take_away(world: SmallWorld, server: int, name: str) -> None:
    with suppress(LockError):
        await Operator(world.registries[server].host, "it is in the way", "ada").force_release(name, None)


def test_an_evicted_acquire_is_not_granted_when_its_delay_stands() -> None:
    with small_world(servers=2) as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None, Terms(lock_delay=1.5)))
        world.commit(PutEntry)
        world.answer(PutEntry)
        world.loop.advance(0.01)  # the delay has its lease
        world.commit(PutDelay)
        world.catch_up(server=1)
        world.begin(take_away(world, 1, "a"))
        world.commit(Evict, server=1)
        world.catch_up()
        assert client.refusals == {"REMOVED_EXTERNALLY": 1}
        world.answer(PutDelay)
        assert not client.happenings, f"told of what it does not await: {client.happenings}"
        world.quiesce()
        assert not world.keys("a")


def test_as_it_was() -> None:
    with as_it_was(whoever_wrote_the_delay_did_not_look_back, "told of what it does not await: Granted"):
        test_an_evicted_acquire_is_not_granted_when_its_delay_stands()


def whoever_wrote_the_delay_did_not_look_back(patch: pytest.MonkeyPatch) -> None:
    hold = Waits._hold

    def hold_whatever_became_of_it(self: Waits, claim: Claim) -> None:
        claim.state = State.PROPOSED
        hold(self, claim)

    patch.setattr(Claim, "active", property(lambda _: True))
    patch.setattr(Delays, "end", lambda _self, _claim: None)
    patch.setattr(Waits, "_hold", hold_whatever_became_of_it)
