"""Clients wear a server out: it cuts off who does not read, ends a thousand sessions at once, and serves the others."""

import asyncio
from collections import Counter

import pytest

import lockstream
from tests.robustness.cluster import Cluster
from tests.robustness.conftest import Inject
from tests.robustness.faults import ImpossibleError
from tests.robustness.faults.consumers import CROWD, EVENTS
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("healed")]


async def counted(watch: lockstream.LockWatch, changes: int) -> Counter[str]:
    """What a watch of free names tells until so many grants and ends have come, by kind."""
    counts: Counter[str] = Counter()
    async for told in watch:
        if isinstance(told, lockstream.LockChanges):
            counts.update(change.kind.name for change in told.changes)
            if counts["GRANTED"] + counts["RELEASED"] + counts["LOST"] >= changes:
                break
        else:
            assert not told.locks
    return counts


@pytest.mark.parametrize("seed", [0, 1])
async def test_an_outbox_overflows_and_its_session_comes_back(inject: Inject, cluster: Cluster, seed: int) -> None:
    targets = ",".join(server.targets[0] for server in cluster.servers)
    async with lockstream.connect(targets) as client, client.session() as neighbour:
        lock = await neighbour.acquire("neighbour")
        async with client.watch_locks(prefix="deaf/") as watch:
            counting = asyncio.ensure_future(counted(watch, 4 * EVENTS))
            async with inject("outbox overflowed", seed) as victim:
                assert victim in {server.name for server in cluster.servers}
            counts = await counting
        assert counts["GRANTED"] == 2 * EVENTS, "to the one before, and to the one that does not read"
        assert lock.held


async def test_an_outbox_that_is_not_there_cannot_overflow(inject: Inject, cluster: Cluster) -> None:
    for server in cluster.servers:
        await server.kill()
    with pytest.raises(ImpossibleError):
        async with inject("outbox overflowed"):
            pass


@pytest.mark.timeout(90)
async def test_a_crowd_of_sessions_ends_at_once_and_nothing_is_left_of_it(inject: Inject, cluster: Cluster) -> None:
    targets = ",".join(server.targets[0] for server in cluster.servers)
    async with lockstream.connect(targets, ttl=4) as client, client.session() as neighbour:
        lock = await neighbour.acquire("neighbour")
        async with client.watch_locks(prefix="crowd/") as watch:
            counting = asyncio.ensure_future(counted(watch, 2 * CROWD))
            async with inject("crowd gone") as victim:
                assert victim.startswith(f"{CROWD} sessions at ")
            counts = await counting
        assert counts["GRANTED"] == CROWD

        async def alone() -> bool:
            return len(await client.list_sessions()) == 1

        await eventually(alone, "the sessions of the crowd are gone")
        assert lock.held
        assert await client.check_token("neighbour", lock.token)


async def test_a_crowd_that_cannot_come_is_none(inject: Inject, cluster: Cluster) -> None:
    for server in cluster.servers:
        await server.kill()
    with pytest.raises(ImpossibleError, match="UNAVAILABLE"):
        async with inject("crowd gone"):
            pass
