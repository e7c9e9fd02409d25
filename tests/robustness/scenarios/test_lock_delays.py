"""Lock delays were keys of their own, under leases of their own, and each step with them could go wrong.

A delay was written between a grant and its telling, renewed with the session, taken over by a resume, and deleted with
the hold. It ended in silence when a resume renewed its lease too late, or when that lease was revoked. A close in the
moment at which it was written left it for up to ten minutes. A grant was never told when its lease ended first, or told
after an eviction that came in between. And a hold that its client had been told of was deleted, since its delay found
no space.

Each broke a promise, the last one mutual exclusion. Since then nothing is written for a delay: who holds has the entry,
and the entry says how much longer it is to stay when its session is lost. These are the promises.
"""

import pytest

from lockstream_server.core.messages import Acquire, Close, Lost
from lockstream_server.core.model import Entry, Mode, Terms
from lockstream_server.sessions import orphans
from lockstream_server.sessions.operator import Operator
from lockstream_server.store.port import PutEntry, Verdict
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import SmallWorld, small_world
from tests.support.players import TTL, Stream

DELAY = 60.0


def ask(world: SmallWorld, client: Stream) -> None:
    world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None, Terms(lock_delay=DELAY)))


def a_hold(world: SmallWorld) -> Stream:
    client = world.client()
    ask(world, client)
    world.quiesce()
    assert {*client.held} == {1}
    return client


def wait_out(world: SmallWorld, seconds: float) -> None:
    """Time passes in which everything arrives."""
    for _ in range(round(seconds)):
        world.pass_time(1.0)
        world.quiesce()


def test_a_grant_with_a_delay_is_told_by_its_first_commit() -> None:
    with small_world() as world:
        client = world.client()
        world.stores[0].no_leases = True
        ask(world, client)
        world.commit(PutEntry)
        world.answer(PutEntry)
        assert {*client.held} == {1}
        assert not world.stores[0].sent, f"something is written besides: {world.stores[0].sent}"


@pytest.mark.parametrize("verdict", [Verdict.NO_SPACE, Verdict.FAILED])
def test_a_hold_stands_whatever_etcd_refuses(verdict: Verdict) -> None:
    with small_world(servers=2) as world:
        client, other = world.client(), world.client(server=1)
        ask(world, client)
        world.commit(PutEntry)
        world.catch_up()
        world.do(client.cut)
        back = world.resume(client, server=1)
        world.serve(1)
        assert {*back.held} == {1}
        world.do(other.ask, Acquire(1, "b", Mode.EXCLUSIVE, "", None))
        world.turn_down(PutEntry, verdict, server=1)
        wait_out(world, TTL)
        assert {*back.held} == {1}
        assert len(world.keys("a")) == 1


def test_a_delay_stands_after_a_resume() -> None:
    with small_world(servers=2) as world:
        client = a_hold(world)
        world.do(client.cut)
        world.pass_time(TTL - 0.5)
        back = world.resume(client, server=1)
        world.quiesce()
        assert {*back.held} == {1}
        wait_out(world, 2 * TTL)
        world.do(back.cut)
        wait_out(world, TTL + 1)
        assert not world.truth.sessions(), "the session is lost"
        assert world.keys("a"), "nothing was left of the delay"
        wait_out(world, DELAY - 2)
        assert world.keys("a"), "nothing was left of the delay"
        wait_out(world, TTL + 2)
        assert not world.keys("a")


def test_a_close_leaves_no_delay() -> None:
    """However soon it comes."""
    with small_world() as world:
        client = world.client()
        ask(world, client)
        world.commit(PutEntry)
        world.do(client.ask, Close())
        world.quiesce()
        assert client.state == "over"
        assert not world.keys("a"), f"taken by nobody for a minute: {world.keys('a')}"


def test_an_eviction_leaves_no_delay_and_is_told_once() -> None:
    with small_world(servers=2) as world:
        client = a_hold(world)
        operator = Operator(world.registries[1].host, "it is in the way", "ada")

        async def take_away() -> None:
            await operator.force_release("a", None)

        world.begin(take_away())
        world.quiesce()
        assert not client.held
        assert [type(told) for told in client.happenings] == [Lost]
        assert not world.keys("a")


def test_as_it_was_after_a_resume() -> None:
    with as_it_was(orphans_forgot_the_delay, "nothing was left of the delay"):
        test_a_delay_stands_after_a_resume()


def test_as_it_was_after_a_close() -> None:
    with as_it_was(a_close_was_a_loss, "taken by nobody for a minute"):
        test_a_close_leaves_no_delay()


def orphans_forgot_the_delay(patch: pytest.MonkeyPatch) -> None:
    def none(_entry: Entry) -> float:
        return 0.0

    patch.setattr(orphans, "_delay", none)


def a_close_was_a_loss(patch: pytest.MonkeyPatch) -> None:
    end = orphans.Orphans.end

    async def lose(self: orphans.Orphans, session: int, attached_at: int, deletion: object, *, lost: bool) -> Verdict:
        del lost
        return await end(self, session, attached_at, deletion, lost=True)  # type: ignore[arg-type]  # as it came

    patch.setattr(orphans.Orphans, "end", lose)
