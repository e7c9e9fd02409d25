"""A server whose machine was suspended proves no lease that ended meanwhile."""

import pytest

from lockstream_server.core.messages import Acquire, Release
from lockstream_server.core.model import Mode
from lockstream_server.core.session import Phase
from lockstream_server.sessions.session import Session
from tests.support.players import TTL, Stream, World
from tests.support.suspension import Machine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def attached(world: World) -> tuple[Stream, Session]:
    """A client, and its session as the server has it."""
    client = world.open(0)
    world.quiesce()
    assert client.state == "attached"
    [session] = world.registries[0].sessions.values()
    return client, session


def test_what_was_slept_through_is_unproven(world: World, machine: Machine) -> None:
    client, session = attached(world)
    machine.sleep(TTL + 1)
    assert "proven for 0.0s" in repr(session), "before any timer"
    world.loop.advance(TTL / 3 + 0.1)
    assert session.phase is Phase.ENDED, "as soon as it looks, for which it was to renew the lease"
    assert client.state == "over"


@pytest.mark.parametrize(("slept", "told"), [(0.0, True), (TTL + 1.0, False)])
def test_a_grant_is_not_told_under_a_lease_that_was_slept_through(
    world: World, machine: Machine, slept: float, told: bool
) -> None:
    clients = [world.open(0), world.open(0)]
    world.quiesce()
    for client in clients:
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.quiesce()
    holder, waiter = clients
    assert waiter.queued
    machine.sleep(slept)
    world.do(holder.ask, Release(1, holder.held[1].token))
    world.quiesce()
    assert bool(waiter.held) is told


def test_a_session_that_was_resumed_after_a_nap_goes_by_the_same_clock(world: World, machine: Machine) -> None:
    client, _ = attached(world)
    machine.sleep(1)
    world.resume(client, 0)
    world.quiesce()
    [session] = world.registries[0].sessions.values()
    machine.sleep(TTL / 2)
    assert f"proven for {TTL / 2:.1f}s" in repr(session)
