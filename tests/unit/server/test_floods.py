"""Requests to one claim while the store is slow: only so many wait, and each is answered."""

from lockstream_server.core.messages import Acquire, Cancel, Release, Request, RequestYield, SetValue
from lockstream_server.core.model import Mode
from lockstream_server.sessions.claim import REQUESTS_PER_CLAIM
from tests.support.players import Stream, World

MORE = 10


def flood(world: World, stream: Stream, request: Request) -> None:
    """Ask the same again and again; then let the store go on."""
    for _ in range(REQUESTS_PER_CLAIM + MORE):
        world.do(stream.ask, request)
    assert len(stream.asked) == REQUESTS_PER_CLAIM
    assert stream.refusals == {"QUOTA_EXCEEDED": MORE}
    world.quiesce()
    assert not stream.asked
    assert stream.refusals == {"QUOTA_EXCEEDED": MORE}


def acquired(world: World) -> Stream:
    """A client that has asked for the lock."""
    stream = world.open(0)
    world.quiesce()
    world.do(stream.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
    world.quiesce()
    return stream


def test_changes_of_a_hold(world: World) -> None:
    holder = acquired(world)
    token = holder.held[1].token
    flood(world, holder, SetValue(1, token, b"value", {}))
    world.do(holder.ask, SetValue(1, token, b"later", {}))
    world.quiesce()
    assert world.said[token] == b"later"


def test_wishes_that_others_yield(world: World) -> None:
    acquired(world)
    flood(world, acquired(world), RequestYield(1))


def test_releases(world: World) -> None:
    holder = acquired(world)
    flood(world, holder, Release(1, holder.held[1].token))
    assert acquired(world).held


def test_cancels(world: World) -> None:
    acquired(world)
    waiter = acquired(world)
    assert waiter.queued == {1}
    flood(world, waiter, Cancel(1))
    assert not waiter.queued
