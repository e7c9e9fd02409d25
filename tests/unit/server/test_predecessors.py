"""A server that is started again renews the leases of those whom it served before, once, before any of them is back."""

import pytest

from tests.support.players import TTL, Stream, World

SERVERS = 2
LATE = 0.9 * TTL
"""Seconds after which a lease has almost ended."""


def killed(world: World, *, grace: float | None = None) -> Stream:
    """A session of the first server, which died a while ago."""
    stream = world.open(0, grace=grace)
    world.quiesce()
    world.stores[0].cut_off = True
    world.loop.advance(LATE)
    return stream


def test_a_server_renews_what_the_one_of_its_name_had(world: World) -> None:
    stream = killed(world)
    world.start("server-0")
    world.loop.advance(LATE)
    resumed = world.resume(stream, 2)
    world.quiesce()
    assert resumed.state == "attached"


def test_it_does_so_once(world: World) -> None:
    """Those whose clients are gone as well end by themselves."""
    killed(world)
    world.start("server-0")
    world.loop.advance(LATE)
    assert world.truth.sessions()
    world.loop.advance(TTL - LATE + 0.1)
    assert not world.truth.sessions()


def test_no_reading_anew_renews_again(world: World) -> None:
    killed(world)
    world.start("server-0")
    world.loop.advance(LATE)
    world.do(world.stores[2].break_feed)
    world.loop.advance(TTL - LATE + 0.1)
    assert not world.truth.sessions()


@pytest.mark.parametrize(("name", "grace"), [("server-2", None), ("server-0", 0)])
def test_it_leaves_alone_what_was_not_its_own_or_was_to_end_with_its_stream(
    world: World, name: str, grace: float | None
) -> None:
    killed(world, grace=grace)
    assert world.truth.sessions()
    world.start(name)
    world.loop.advance(TTL - LATE + 0.1)
    assert not world.truth.sessions()
