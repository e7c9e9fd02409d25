"""A hold that its client had been told of was deleted in silence, since its lock delay could not be written.

A server died after it had committed a grant and before it had written the hold's lock delay. The client resumed at
another one, which told it that it held, found no delay and went to write it. etcd was out of space, or granted no
lease. That server gave the claim up, as is right for one that nobody was told of, and deleted its entry. A claim that
is held is told nothing when it leaves, since otherwise its client had asked for that.

It broke mutual exclusion: the next in line was granted while the holder still believed. Since then a hold is never
given up for its delay, which is written as soon as it can be.
"""

import pytest

from lockstream_server.core.errors import LockError
from lockstream_server.core.messages import Acquire
from lockstream_server.core.model import Mode, Terms
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.delays import Delays
from lockstream_server.sessions.endings import Endings
from lockstream_server.sessions.host import RETRY_SECONDS
from lockstream_server.store.port import PutDelay, PutEntry, TakeOverSession, Verdict
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import SmallWorld, small_world
from tests.support.players import Stream


def resumed_without_its_delay(world: SmallWorld) -> Stream:
    """A client that resumed at the second server, which was told that it holds."""
    client, next_in_line = world.client(), world.client(server=1)
    world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None, Terms(lock_delay=1.0)))
    world.commit(PutEntry)
    world.serve(1)
    world.do(next_in_line.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
    world.serve(1)
    world.do(client.cut)
    back = world.resume(client, server=1)
    world.commit(TakeOverSession, server=1)
    world.answer(TakeOverSession, server=1)
    world.catch_up(server=1)
    assert {*back.held} == {1}
    return back


def check_that_it_holds(world: SmallWorld, back: Stream) -> None:
    world.serve(1)  # the next in line would be granted, and object to that
    assert {*back.held} == {1}
    world.pass_time(RETRY_SECONDS + 0.1)
    world.serve(1)
    [entry, delay, _] = sorted(world.keys("a"))
    assert delay.startswith(entry), "the delay is written in the end"


@pytest.mark.parametrize("verdict", [Verdict.NO_SPACE, Verdict.FAILED])
def test_a_hold_stands_though_its_delay_is_not_taken(verdict: Verdict) -> None:
    with small_world(servers=2) as world:
        back = resumed_without_its_delay(world)
        world.pass_time(0.01)  # the delay has its lease
        world.turn_down(PutDelay, verdict, server=1)
        check_that_it_holds(world, back)


def test_a_hold_stands_though_its_delay_has_no_lease() -> None:
    with small_world(servers=2) as world:
        back = resumed_without_its_delay(world)
        world.stores[1].no_leases = True
        world.pass_time(0.01)
        world.stores[1].no_leases = False
        check_that_it_holds(world, back)


@pytest.mark.parametrize("verdict", [Verdict.NO_SPACE, Verdict.FAILED])
def test_as_it_was_without_space(verdict: Verdict) -> None:
    with as_it_was(a_hold_without_its_delay_was_given_up, "'a' is .* beside"):
        test_a_hold_stands_though_its_delay_is_not_taken(verdict)


def test_as_it_was_without_a_lease() -> None:
    with as_it_was(a_hold_without_its_delay_was_given_up, "'a' is .* beside"):
        test_a_hold_stands_though_its_delay_has_no_lease()


def a_hold_without_its_delay_was_given_up(patch: pytest.MonkeyPatch) -> None:
    begin = Endings.__init__
    of_delays: dict[Delays, Endings] = {}

    def begin_and_note(self: Endings, *arguments: object) -> None:
        begin(self, *arguments)  # type: ignore[arg-type]  # whatever they are
        of_delays[self._delays] = self

    def give_up(self: Delays, claim: Claim, why: LockError) -> None:
        of_delays[self].give_up(claim, why)

    patch.setattr(Endings, "__init__", begin_and_note)
    patch.setattr(Delays, "_keep_later", give_up)
