"""Links of clients and of lock servers are troubled: those that the fault names, in the way it says, and they heal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest
import pytest_asyncio

from lockstream.v1 import session_pb2
from tests.robustness.cluster import Cluster
from tests.robustness.conftest import Inject, drawn_until
from tests.robustness.faults.network import SLOW_SECONDS, TROUBLES
from tests.support.waiters import Stopwatch
from tests.support.wire import Wire, acquire, release

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("healed")]

SILENCE_SECONDS = 0.3
"""What is not answered by then waits for the end of the fault."""
STALLED_SECONDS = 0.5
"""A frame that could not be written for this long is one that the server does not read."""
SHORT_TTL = 5
"""Of a session that ends soon unless it is renewed, in seconds."""
HEARTBEAT = session_pb2.Heartbeat()
HARD = [trouble for trouble in TROUBLES if trouble != "slow"]
"""Under these nobody is answered."""

Pair = tuple[str, str]


@pytest_asyncio.fixture(loop_scope="module")
async def wires(cluster: Cluster) -> AsyncIterator[dict[Pair, Wire]]:
    """A session over every link of clients, by both ends of the link."""
    async with AsyncExitStack() as stack:
        wires = {}
        for server in cluster.servers:
            for client, target in zip(cluster.clients, server.targets, strict=True):
                wires[client, server.name] = await stack.enter_async_context(Wire(target))
        for wire in wires.values():
            await wire.open()
        yield wires


async def answered(wire: Wire, action: session_pb2.Heartbeat | session_pb2.Acquire = HEARTBEAT) -> bool:
    """Whether a request is answered before long."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            await wire.ask(action)
    except (TimeoutError, EOFError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


def pairs(victims: str) -> set[Pair]:
    """The links that a fault names: `some | others`."""
    some, _, others = victims.partition(" | ")
    return {(one, other) for one in some.split() for other in others.split()}


@pytest.mark.parametrize("trouble", HARD)
@pytest.mark.parametrize(("link", "hit"), [("clients to a server", 1), ("clients to all servers", 2)])
async def test_clients_of_the_link_are_not_answered_and_all_others_are(
    inject: Inject, cluster: Cluster, wires: dict[Pair, Wire], link: str, hit: int, trouble: str
) -> None:
    async with inject(f"{link}: {trouble}") as victims:
        answers = dict(zip(wires, await asyncio.gather(*map(answered, wires.values())), strict=True))
        assert {pair for pair, answer in answers.items() if not answer} == pairs(victims)
        assert len(pairs(victims)) == hit
    for client, server in pairs(victims):
        target = next(each for each in cluster.servers if each.name == server).targets[cluster.clients.index(client)]
        async with Wire(target) as again:
            await again.open()


async def test_clients_of_a_slow_link_are_answered_late(inject: Inject, wires: dict[Pair, Wire]) -> None:
    async with inject("clients to a server: slow") as victims:
        for pair, wire in wires.items():
            watch = Stopwatch()
            await wire.ask(HEARTBEAT)
            assert (watch.seconds >= 2 * SLOW_SECONDS[0]) == (pair in pairs(victims)), "there and back"


async def test_the_outbox_of_deaf_clients_fills_up_and_empties(
    inject: Inject, cluster: Cluster, wires: dict[Pair, Wire]
) -> None:
    """The server stops reading who does not read; nothing of what it had to say is lost."""
    # Of something that is not held: whatever is asked is refused, and large, so that buffers on the way fill up soon.
    wordy = [session_pb2.SetValue(acquire_id=2**63, token=1, value=bytes(4_096))] * 200

    def holds(victims: str) -> bool:
        return all(cluster.network.link(*pair).down.holds for pair in pairs(victims))

    async with drawn_until(inject, "clients to a server: deaf", holds) as victims:
        [pair] = pairs(victims)
        wire, asked = wires[pair], []
        while True:
            sending = asyncio.create_task(wire.send(*wordy))
            done, _ = await asyncio.wait([sending], timeout=STALLED_SECONDS)
            if not done:
                break
            asked += sending.result()
    asked += await sending
    for request_id in asked:
        assert (await wire.reply(request_id)).HasField("error")


@pytest.mark.parametrize("trouble", HARD)
async def test_a_server_cut_off_from_etcd_commits_once_healed(
    inject: Inject, wires: dict[Pair, Wire], trouble: str
) -> None:
    async with inject(f"server to etcd: {trouble}") as victims:
        victim = victims.partition(" | ")[0]
        [hit, *_] = [wire for (_, server), wire in wires.items() if server == victim]
        [spared, *_] = [wire for (_, server), wire in wires.items() if server != victim]
        [asked] = await hit.send(acquire(1, f"cut off, {trouble}"))
        assert (await spared.hold(acquire(1, f"spared, {trouble}"))).token
        reply = asyncio.create_task(hit.reply(asked))
        done, _ = await asyncio.wait([reply], timeout=SILENCE_SECONDS)
        assert not done
    assert (await reply).HasField("granted"), reply


@pytest.mark.parametrize("link", ["server to a member", "server to leader"])
async def test_a_server_cut_off_from_a_member_goes_to_another(
    inject: Inject, cluster: Cluster, wires: dict[Pair, Wire], link: str
) -> None:
    async with inject(f"{link}: cut off") as victims:
        [(victim, member)] = pairs(victims)
        [wire, *_] = [wire for (_, server), wire in wires.items() if server == victim]
        granted = await wire.hold(acquire(1, f"another way, {link}"))
        others = [each.name for each in cluster.members if each.name != member]
        assert any(cluster.network.link(victim, other).connections for other in others)
    await wire.ask(release(granted))


async def test_a_server_cut_off_from_the_leader_renews_at_another_member(inject: Inject, cluster: Cluster) -> None:
    """In time, and for longer than a lease lives without."""
    async with AsyncExitStack() as stack:
        sessions = {server.name: await stack.enter_async_context(Wire(server.targets[0])) for server in cluster.servers}
        for wire in sessions.values():
            await wire.open(ttl=SHORT_TTL)
            await wire.hold(acquire(1, f"renewed, {wire.attached.session_id}"))
        async with inject("server to leader: cut off") as victims:
            [(victim, leader)] = pairs(victims)
            assert leader == (await cluster.leader()).name
            watch = Stopwatch()
            while watch.seconds < 2 * SHORT_TTL:
                assert (await sessions[victim].ask(HEARTBEAT)).HasField("proof")
                await asyncio.sleep(SHORT_TTL / 10)
        assert {event.WhichOneof("event") for event in sessions[victim].unread} <= {"jeopardy", "safe"}


async def test_a_server_with_a_slow_link_to_etcd_takes_its_time(inject: Inject, wires: dict[Pair, Wire]) -> None:
    async with inject("server to etcd: slow") as victims:
        victim = victims.partition(" | ")[0]
        for (client, server), wire in wires.items():
            watch = Stopwatch()
            await wire.hold(acquire(1, f"slow, {client} {server}"))
            if server == victim:
                assert watch.seconds >= 2 * SLOW_SECONDS[0], "there and back"
