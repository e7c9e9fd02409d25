"""A server that stops: whoever is just beginning there is asked to leave as well."""

import pytest

from lockstream_server.core.messages import Draining, Open, Resume
from tests.support.players import TTL, Stream, World

SERVERS = 2
PATIENCE = 10.0


def drain(world: World) -> float:
    """The first server begins to drain. Returns when it is to stop."""
    until = world.loop.time() + PATIENCE
    world.do(world.registries[0].drain, until)
    return until


def begun(world: World, request: Open | Resume) -> Stream:
    """A stream whose first request is under way at the first server."""
    stream = Stream(world, 0)
    world.streams.append(stream)
    world.do(stream.begin, request)
    world.loop.advance(0.01)
    assert stream.state == "begins"
    return stream


@pytest.mark.parametrize("resumes", [False, True])
def test_a_session_that_begins_during_a_drain_is_asked_to_leave(world: World, resumes: bool) -> None:
    request: Open | Resume = Open("client", {}, TTL, None, heartbeats=False)
    if resumes:
        before = world.open(1)
        world.quiesce()
        request = Resume(before.session, before.token)
    stream = begun(world, request)
    until = drain(world)
    world.quiesce()
    assert stream.state == "attached"
    assert stream.happenings == [Draining(until)]


def test_a_session_is_asked_to_leave_once(world: World) -> None:
    stream = world.open(0)
    world.quiesce()
    assert stream.state == "attached"
    until = drain(world)
    world.loop.advance(PATIENCE)
    assert stream.happenings == [Draining(until)]
