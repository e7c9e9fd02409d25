"""Thousands of sessions on one server lose nothing: not when etcd's leader stops, not when their server does.

All of it on this machine: three members of etcd, two servers, and the sessions, which are raw streams from one process
over 50 connections. Beside them, at the other server, are a hundred sessions which nothing of all that may concern, and
a bystander that takes and frees a lock. `make scale` has five thousand and shows the figures, which go to the log;
where nothing is said there are fewer, as machines differ and the times allowed do not.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio
from etcd3 import etcdrpc

from lockstream_server.store.keys import range_end
from tests.benchmarks.cpu import cpu_seconds
from tests.robustness.cluster import Cluster, LockServer
from tests.robustness.remains import read_etcd
from tests.robustness.scale.crowd import Crowd
from tests.robustness.scale.process import Plan
from tests.support.processes import accepts_connections
from tests.support.waiting import eventually

log = logging.getLogger(__name__)

SESSIONS = int(os.environ.get("LOCKSTREAM_SCALE_SESSIONS", "2000"))
CONNECTIONS = 50
OTHERS = 100
TTL = 10
STOP_SECONDS = 2.0
"""For how long etcd's leader is stopped."""
RECONNECT_SECONDS = 10.0
"""In which all sessions are back once their server listens again."""
MOVE_SECONDS = 25.0
"""In which all are at the other server when theirs says that it drains: two servers are at work then, and the process
of the crowd, which is all clients in one, has to leave one and to find the other."""
END_SECONDS = 45.0
"""In which etcd has forgotten sessions which ended all at once, their grace included."""
PROCESSOR_SECONDS = 4.0
"""For how long processor time is measured."""

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(150)]


@dataclass(slots=True)
class Scene:
    """Who plays."""

    cluster: Cluster
    crowd: Crowd
    others: Crowd
    home: LockServer
    """Where the crowd is attached."""
    attachments: int = 1
    """How often each session of the crowd has attached."""

    async def locks(self) -> int:
        """How many locks of the crowd etcd knows as held, or as awaited, which none is."""
        start = f"/lockstream/l/{self.crowd.name}%2F".encode()
        request = etcdrpc.RangeRequest(key=start, range_end=range_end(start), count_only=True)
        leader = await self.cluster.leader()
        async with grpc.aio.insecure_channel(leader.endpoint) as channel:
            return int((await etcdrpc.KVStub(channel).Range(request)).count)

    async def reattached(self) -> float:
        """Wait until the whole crowd has attached once more; when the last one had, by the monotonic clock."""
        self.attachments += 1
        return (await self.crowd.attached(self.attachments)).attached_at

    async def assert_nothing_was_lost(self) -> None:
        tallies = (self.crowd.now(), self.others.now())
        assert [(tally.lost, tally.loss) for tally in tallies] == [(0, "")] * 2
        assert [tally.attached for tally in tallies] == [SESSIONS, OTHERS]
        assert await self.locks() == SESSIONS

    def least_proven(self, since: float) -> tuple[float, float]:
        """For how long leases were proven at the least, of the crowd and of the others, in seconds."""
        crowd, others = (min(tally.proven for tally in each.tallies(since)) for each in (self.crowd, self.others))
        return crowd, others

    def waits(self, since: float) -> list[float]:
        """What the bystander's acquires took, in seconds, the shortest first."""
        return sorted(wait for tally in self.others.tallies(since) for wait in tally.waits)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    directory = tmp_path_factory.mktemp("crowds")
    patience = f"--drain-timeout={MOVE_SECONDS}"
    async with Cluster(direct=True, server_args=[patience]) as cluster, AsyncExitStack() as stack:
        home, other = (server.target for server in cluster.servers)
        few = Plan(name="others", servers=[other], sessions=OTHERS, connections=1, ttl=TTL, bystander=other)
        many = Plan(name="crowd", servers=[home, other], sessions=SESSIONS, connections=CONNECTIONS, ttl=TTL)
        others, crowd = (Crowd(plan, directory) for plan in (few, many))
        for each in (others, crowd):
            stack.push_async_callback(each.kill)
        await others.start()
        await others.attached(1)
        begun_at = time.monotonic()
        await crowd.start()
        opened = await crowd.attached(1)
        log.info("%d sessions opened in %.1f s", SESSIONS, opened.attached_at - begun_at)
        yield Scene(cluster, crowd, others, cluster.servers[0])
        for server in cluster.servers:
            server.server.assert_no_traceback()


async def test_idle_sessions_leave_most_of_a_processor_free(scene: Scene) -> None:
    used = await cpu_seconds({"server": scene.home.process.pid}, after=0, during=PROCESSOR_SECONDS)
    share = used["server"] / PROCESSOR_SECONDS
    log.info("%d idle sessions use %.0f %% of a processor at the server", SESSIONS, 100 * share)
    assert 0 < share < 0.75
    await scene.assert_nothing_was_lost()


async def test_a_leader_of_etcd_that_stops_costs_nobody_a_lock(scene: Scene) -> None:
    leader = await scene.cluster.leader()
    stopped_at = time.monotonic()
    await leader.freeze()
    await asyncio.sleep(STOP_SECONDS)
    await leader.thaw()
    renewed_by = time.monotonic() + TTL / 2

    def all_renewed() -> bool:
        """Whoever is in no jeopardy half a TTL later was renewed since."""
        tallies = (scene.crowd.now(), scene.others.now())
        return all(tally.at > renewed_by and not tally.endangered for tally in tallies)

    await eventually(all_renewed, "every lease renewed", timeout=3 * TTL)
    least, others = scene.least_proven(stopped_at)
    log.info(
        "leader stopped for %g s: leases proven for %.1f s at the least, others %.1f s", STOP_SECONDS, least, others
    )
    await scene.assert_nothing_was_lost()


async def test_all_come_back_after_their_server_was_killed(scene: Scene) -> None:
    before = (scene.crowd.now().dangers, scene.others.now().dangers)
    killed_at = time.monotonic()
    await scene.home.restart()
    await eventually(lambda: accepts_connections(scene.home.port), "the server listens", timeout=RECONNECT_SECONDS)
    listening_at = time.monotonic()
    back_at = await scene.reattached()
    log.info("killed: a server after %.1f s, all back %.1f s later", listening_at - killed_at, back_at - listening_at)
    assert back_at - listening_at < RECONNECT_SECONDS
    await assert_renewed_in_time(scene, killed_at, before)


async def test_all_move_to_the_other_server_when_theirs_drains(scene: Scene) -> None:
    before = (scene.crowd.now().dangers, scene.others.now().dangers)
    drained_at = time.monotonic()
    await scene.home.terminate()
    assert scene.home.process.returncode == 0
    back_at = await scene.reattached()
    log.info("drained: all at the other server after %.1f s", back_at - drained_at)
    assert back_at - drained_at < MOVE_SECONDS
    await assert_renewed_in_time(scene, drained_at, before)
    await scene.home.start()
    scene.home = scene.cluster.servers[1]
    await scene.cluster.wait_until_healthy()


async def assert_renewed_in_time(scene: Scene, since: float, dangers: tuple[int, int]) -> None:
    """Nobody's proof fell to half a TTL meanwhile, neither of those who came back early nor of those who never left."""
    log.info("leases proven for %.1f s at the least, those of others for %.1f s", *scene.least_proven(since))
    log.info("bystander waited for %.0f ms at the most", 1_000 * scene.waits(since)[-1])
    assert (scene.crowd.now().dangers, scene.others.now().dangers) == dangers
    await scene.assert_nothing_was_lost()


async def test_when_all_end_at_once_nothing_stays_and_nobody_else_waits_for_long(scene: Scene) -> None:
    assert await scene.locks() == SESSIONS
    killed_at = time.monotonic()
    await scene.crowd.kill()

    async def no_locks() -> bool:
        return await scene.locks() == 0

    await eventually(no_locks, "no lock is left", timeout=END_SECONDS)
    unlocked_at = time.monotonic()
    leader = await scene.cluster.leader()
    kept = OTHERS + 1  # with the bystander's

    async def nothing_left() -> bool:
        remains = await read_etcd(leader.endpoint)
        # Of the bystander's lock there is an entry now and then.
        return len(remains.leases) == kept and len(remains.keys) in {kept + OTHERS, kept + OTHERS + 1}

    await eventually(nothing_left, "no session is left", timeout=END_SECONDS)
    gone_at = time.monotonic()
    waits = scene.waits(killed_at)
    log.info(
        "all ended: no lock after %.1f s, no lease after %.1f s; bystander waited for %.0f ms, at the most %.0f ms",
        *(unlocked_at - killed_at, gone_at - killed_at, 1_000 * waits[len(waits) // 2], 1_000 * waits[-1]),
    )
    assert waits[-1] < TTL / 2
    others = scene.others.now()
    assert (others.attached, others.lost, others.loss, others.endangered) == (OTHERS, 0, "", 0)
