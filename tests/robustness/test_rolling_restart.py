"""A rolling restart of both lock servers under load loses no lock and no place in a queue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

import lockstream
from tests.robustness.cluster import Cluster, all_etcds
from tests.robustness.standing import standing
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("healed"),
    pytest.mark.parametrize("cluster", all_etcds(), ids=str, indirect=True, scope="module"),
]

TTL = 6.0
WORKERS = 8
PAIRS = 50
"""Of an acquire and a release, that the load does between two things that happen."""


class Load:
    """Workers who acquire and release locks of their own, as fast as they can. Whatever fails ends them."""

    def __init__(self) -> None:
        self.pairs = [0] * WORKERS
        self.failures: list[lockstream.LockstreamError] = []

    async def work(self, worker: int, session: lockstream.Session) -> None:
        """Until cancelled."""
        try:
            while True:
                async with session.lock(f"load/{worker}"):
                    pass
                self.pairs[worker] += 1
        except lockstream.LockstreamError as error:
            self.failures.append(error)

    async def goes_on(self) -> None:
        """Return when every worker has done more."""
        before = [*self.pairs]
        await eventually(
            lambda: (
                bool(self.failures)
                or all(now >= then + PAIRS / WORKERS for now, then in zip(self.pairs, before, strict=True))
            ),
            "every worker goes on",
        )
        assert self.failures == []


@asynccontextmanager
async def load(targets: Sequence[str]) -> AsyncIterator[Load]:
    """Load during the block, by sessions on all servers."""
    load = Load()
    async with AsyncExitStack() as stack:
        sessions = []
        for worker in range(WORKERS):
            order = targets if worker % 2 else targets[::-1]
            client = await stack.enter_async_context(lockstream.connect(",".join(order), ttl=TTL))
            sessions.append(await stack.enter_async_context(client.session()))
        tasks = [asyncio.ensure_future(load.work(worker, session)) for worker, session in enumerate(sessions)]
        try:
            await load.goes_on()
            yield load
            await load.goes_on()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.timeout(120)
async def test_a_rolling_restart_under_load_loses_no_lock_and_no_place(cluster: Cluster) -> None:
    targets = [server.targets[0] for server in cluster.servers]
    async with standing(targets, TTL) as there, load(targets) as working:
        attached = {
            server.name: {s.id for s in there.sessions if s.server == server.name} for server in cluster.servers
        }
        assert all(attached.values()), "every server has some of those who stand"
        for server in cluster.servers:
            pid = server.process.pid
            await server.terminate()
            assert server.process.returncode == 0
            assert all(session.server != server.name for session in there.sessions if session.attached)
            await there.assert_nothing_lost()
            await working.goes_on()
            await server.start()
            await eventually(server.healthy, f"{server!r} serving again")
            assert server.process.pid != pid
            await there.assert_nothing_lost()
            await working.goes_on()
        assert all(session.generation > 1 for session in there.sessions), "everybody had to move"
        await there.assert_order_kept()
    for server in cluster.servers:
        server.server.assert_no_traceback()
        assert "some sessions did not move" not in server.process.log_text()
