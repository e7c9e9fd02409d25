"""What goes wrong inside etcd: each fault has its effect on the locks, or none, and heals."""

import asyncio
import secrets
from contextlib import AsyncExitStack

import grpc
import pytest

import lockstream
from tests.robustness.cluster import Cluster, all_etcds
from tests.robustness.cluster.looking import LOOK_SECONDS
from tests.robustness.conftest import Inject, drawn_until
from tests.robustness.faults import ImpossibleError
from tests.robustness.faults.etcd import DISK_SECONDS
from tests.robustness.faults.network import SLOW_SECONDS, TROUBLES
from tests.support.waiters import Stopwatch
from tests.support.waiting import eventually
from tests.support.wire import Wire, acquire, release

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("healed"),
    pytest.mark.parametrize("cluster", all_etcds(), ids=str, indirect=True, scope="module"),
]

SILENCE_SECONDS = 0.3
"""What is not answered by then waits for the end of the fault."""
READ_ANEW = "the history was compacted; reading everything anew"
HARD = [trouble for trouble in TROUBLES if trouble != "slow"]


@pytest.mark.parametrize("trouble", HARD)
async def test_another_leads_when_the_leader_and_its_followers_lose_each_other(
    inject: Inject, cluster: Cluster, trouble: str
) -> None:
    """One way is enough: a leader that is not heard is replaced, and one that hears nobody gives up."""
    before = await cluster.leader()
    async with inject(f"leader: {trouble}") as victims:
        assert victims.partition(" | ")[0] == before.name

        async def replaced() -> bool:
            return await cluster.leader() is not before

        await eventually(replaced, "another leads")


@pytest.mark.parametrize("trouble", HARD)
async def test_a_follower_without_the_others_is_alone_in_that(inject: Inject, cluster: Cluster, trouble: str) -> None:
    async with inject(f"follower: {trouble}") as victims:
        healthy = {member.name: await member.healthy() for member in cluster.members}
        assert [name for name, well in healthy.items() if not well] == [victims.partition(" | ")[0]]


async def test_a_leader_with_slow_links_is_slow_to_commit(inject: Inject, cluster: Cluster) -> None:
    leader = await cluster.leader()
    async with drawn_until(inject, "leader: slow", lambda _: delayed(cluster, leader.name, LOOK_SECONDS / 4)):
        watch = Stopwatch()
        await leader.admin.revision()
        assert watch.seconds >= 2 * SLOW_SECONDS[0], "it asks its followers whether it still leads"


async def test_a_slow_disk_delays_what_its_member_acknowledges(inject: Inject, cluster: Cluster) -> None:
    leader = await cluster.leader()
    others = [member for member in cluster.members if member is not leader]
    async with drawn_until(inject, "slow disk", lambda victim: victim == others[0].name):
        await others[1].freeze()  # now the slow one's word is needed for a majority
        watch = Stopwatch()
        await leader.admin.revision()
        assert watch.seconds >= DISK_SECONDS[0]
        await others[1].thaw()


async def test_leadership_moves_to_another(inject: Inject, cluster: Cluster) -> None:
    before = await cluster.leader()
    async with inject("leader moved") as moved:
        assert before.name == moved.split()[0]
        assert (await cluster.leader()).name == moved.split()[-1] != before.name


async def test_history_is_compacted_under_the_watches_of_servers(inject: Inject, cluster: Cluster) -> None:
    targets = [server.targets[0] for server in cluster.servers]
    async with lockstream.connect(targets[0]) as client, lockstream.connect(targets[1]) as far, client.session() as own:
        async with own.lock("compacted"):
            before = await cluster.members[0].admin.revision()
            async with inject("history compacted") as compacted:
                revision = int(compacted.split()[-1])
                assert revision >= before
                for member in cluster.members:
                    with pytest.raises(grpc.aio.AioRpcError, match="compacted"):
                        await member.admin.compact(revision - 1)
                with pytest.raises(ImpossibleError):
                    async with inject("history compacted"):
                        pass
        async with own.lock("later") as lock:
            await eventually(lambda: holds(far, "later", lock.token), "the other server sees what came after")


async def test_a_server_that_was_away_while_history_was_compacted_reads_everything_anew(
    inject: Inject, cluster: Cluster
) -> None:
    async with AsyncExitStack() as stack:
        wires = {server.name: await stack.enter_async_context(Wire(server.target)) for server in cluster.servers}
        for wire in wires.values():
            await wire.open()
        async with inject("server behind compaction") as name:
            [victim] = [server for server in cluster.servers if server.name == name]
            [other] = [wire for server, wire in wires.items() if server != name]
            resyncs = victim.process.log_text().count(READ_ANEW)
            await other.ask(release(await other.hold(acquire(1, "come and gone"))))
            kept = await other.hold(acquire(2, "kept"))
        client = await stack.enter_async_context(lockstream.connect(victim.target))
        await eventually(lambda: holds(client, "kept", kept.token), "it knows what it missed")
        assert victim.process.log_text().count(READ_ANEW) == resyncs + 1
        assert await wires[name].hold(acquire(1, "come and gone"))


async def test_a_database_becomes_smaller(inject: Inject, cluster: Cluster) -> None:
    etcdctl, filling = cluster.members[0].etcd.etcdctl, secrets.token_hex(500_000)
    for _ in range(4):
        await asyncio.to_thread(etcdctl, "put", "filling", stdin=filling)
    await asyncio.to_thread(etcdctl, "del", "filling")
    async with inject("history compacted"):
        pass
    before = [(await member.admin.status()).database_bytes for member in cluster.members]
    async with inject("database defragmented") as order:
        assert sorted(order.split()) == [member.name for member in cluster.members]
        after = [(await member.admin.status()).database_bytes for member in cluster.members]
        assert all(now < then / 2 for now, then in zip(after, before, strict=True))


async def test_out_of_space_locks_are_freed_and_no_session_begins(inject: Inject, cluster: Cluster) -> None:
    target = cluster.servers[0].targets[0]
    async with Wire(target) as wire, Wire(target) as newcomer:
        await wire.open()
        held = await wire.hold(acquire(1, "space"))
        async with inject("out of space"):
            assert await cluster.members[0].admin.out_of_space()
            opening = asyncio.create_task(newcomer.open())
            assert (await wire.ask(release(held))).HasField("released")
            done, _ = await asyncio.wait([opening], timeout=SILENCE_SECONDS)
            assert not done
        assert not await cluster.members[0].admin.out_of_space()
        assert (await opening).session_id


def delayed(cluster: Cluster, member: str, at_most: float) -> bool:
    """Whether everything that a member says is late, and by so many seconds at most."""
    others = [each.name for each in cluster.members if each.name != member]
    return all(0 < way.delay <= at_most for way in cluster.network.ways([member], others))


async def holds(client: lockstream.Client, name: str, token: int) -> bool:
    """Whether a client's server knows of the hold."""
    return [entry.token for entry in (await client.get_lock(name)).entries] == [token]
