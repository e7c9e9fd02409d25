"""What the tests of a server's parts share."""

from collections.abc import Iterator

import pytest

from tests.support.players import World


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Servers around one store, in virtual time: one, or as many as the test's module says with `SERVERS`."""
    world = World(getattr(request.module, "SERVERS", 1))
    yield world
    world.close()
