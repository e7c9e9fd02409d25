"""How much of its TTL a client is told of: it is all that it has to come back in, when its server dies."""

import pytest

from lockstream_server.core.messages import Heartbeat
from tests.support.players import TTL, World

INTERVAL = TTL / 3


@pytest.mark.parametrize("late", [0.0, 0.01, 0.05 * INTERVAL])
@pytest.mark.parametrize("first", [0.1 * INTERVAL, 0.5 * INTERVAL, INTERVAL])
def test_a_heartbeat_finds_the_lease_just_renewed(world: World, first: float, late: float) -> None:
    """After a few, whenever the first was sent, and though each is sent a little later than after the interval."""
    stream = world.open(0, heartbeats=True)
    world.quiesce()
    session = world.registries[0].sessions[stream.session]
    world.loop.advance(first)
    proven = []
    for _ in range(20):
        world.do(stream.ask, Heartbeat())
        proven.append(session.proven)
        world.loop.advance(INTERVAL + late)
    assert min(proven[5:]) > 0.9 * TTL


def test_no_more_renewals_are_sent_for_that_than_heartbeats(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    renewals = 0
    renew = world.stores[0].renew_lease

    def renew_lease(*arguments: object) -> None:
        nonlocal renewals
        renewals += 1
        renew(*arguments)  # type: ignore[arg-type]  # whatever was given

    monkeypatch.setattr(world.stores[0], "renew_lease", renew_lease)
    stream = world.open(0, heartbeats=True)
    world.quiesce()
    for _ in range(20):
        world.loop.advance(INTERVAL)
        world.do(stream.ask, Heartbeat())
    assert renewals == 20
