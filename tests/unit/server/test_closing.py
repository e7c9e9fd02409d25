"""A close frees everything that it can, whatever becomes of the rest."""

from collections.abc import Iterator

import pytest

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.messages import Acquire, Close
from lockstream_server.core.model import Mode, Terms
from tests.support.players import World

DELAY = 60.0


@pytest.fixture
def world() -> Iterator[World]:
    """One server, in virtual time."""
    world = World(1)
    yield world
    world.close()


def test_a_lease_that_cannot_be_revoked_keeps_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.open(0)
    world.quiesce()
    names = ["a", "b", "c"]
    for acquire, name in enumerate(names, start=1):
        world.do(client.ask, Acquire(acquire, name, Mode.EXCLUSIVE, "", None, Terms(lock_delay=DELAY)))
        world.quiesce()
    delays = world.registries[0].sessions[client.session].claims.delay_leases()
    assert len(delays) == len(names)
    [store] = world.stores

    async def or_not(lease: int) -> None:
        if lease == delays[0]:
            raise LockError(Reason.STORE_UNAVAILABLE, "etcd did not answer in time")
        await world.truth.revoke_lease(lease)

    monkeypatch.setattr(store, "revoke_lease", or_not)
    world.do(client.ask, Close())
    world.quiesce()
    assert client.state == "over"
    left = {name: len(world.do(world.truth.read_lock, name).entries) for name in names}
    assert left == {"a": 1, "b": 0, "c": 0}, "the lock is taken by its delay alone, the others by nothing"
