"""Processes are killed, frozen and restarted: those that the name of the fault says, and they come back."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

import lockstream
from tests.robustness.cluster import Cluster, Node
from tests.robustness.conftest import Idle, Inject
from tests.robustness.faults import KINDS, ImpossibleError, Process, Scene
from tests.support.waiters import queue_up
from tests.support.waiting import until_queued

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("healed")]

HIT = [kind for kind in KINDS if kind.endswith((" killed", " frozen"))]


async def cast(scene: Scene, kind: str) -> tuple[Sequence[Process], int]:
    """Among whom the victims of this kind are, as things are now, and how many they are."""
    cluster = scene.cluster
    match kind.rpartition(" ")[0]:
        case "server":
            return cluster.servers, 1
        case "all servers":
            return cluster.servers, 2
        case "leader":
            return [await cluster.leader()], 1
        case "follower":
            return await cluster.followers(), 1
        case "majority":
            return cluster.members, 2
        case "client":
            return scene.clients, 1
        case who:
            raise AssertionError(f"who is {who!r}?")


def state(node: Node) -> str:
    """The state of its process as the kernel has it: T is stopped."""
    return Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()[0] if node.running else "gone"


@pytest.mark.parametrize("kind", HIT)
async def test_victims_are_hit_and_nobody_else_and_come_back(inject: Inject, scene: Scene, kind: str) -> None:
    nodes = {node.name: node for node in (*scene.cluster.nodes, *scene.clients) if isinstance(node, Node)}
    assert len(nodes) == 7
    pids = {name: node.process.pid for name, node in nodes.items()}
    possible, number = await cast(scene, kind)
    async with inject(kind) as named:
        victims = named.split()
        assert len(victims) == number
        assert {*victims} <= {process.name for process in possible}
        hit = "gone" if kind.endswith("killed") else "T"
        assert {name for name, node in nodes.items() if state(node) == hit} == {*victims}
        assert {name for name, node in nodes.items() if not node.running or state(node) == "T"} == {*victims}
    assert all(node.running and state(node) != "T" for node in nodes.values())
    changed = {name for name, node in nodes.items() if node.process.pid != pids[name]}
    assert changed == ({*victims} if kind.endswith("killed") else set())


async def test_a_wall_clock_is_stepped_by_hours_either_way_and_back(inject: Inject, scene: Scene) -> None:
    stepped = []
    for seed in range(8):
        async with inject("client's clock stepped", seed) as victim:
            [clock] = [client.clock for client in scene.clients if isinstance(client, Idle) and client.name == victim]
            stepped.append(clock)
        assert {client.clock for client in scene.clients if isinstance(client, Idle)} == {0.0}
    assert min(stepped) < -3_600
    assert max(stepped) > 3_600
    assert all(abs(seconds) >= 3_600 for seconds in stepped)


@pytest.mark.parametrize("kind", ["leader killed", "leader frozen"])
async def test_another_leads_without_the_leader(inject: Inject, cluster: Cluster, kind: str) -> None:
    async with inject(kind) as victim:
        assert (await cluster.leader()).name != victim


async def test_nothing_is_committed_without_a_majority(inject: Inject, cluster: Cluster) -> None:
    async with inject("majority frozen") as victims:
        [left] = [member for member in cluster.members if member.name not in victims.split()]
        assert not await left.healthy()


async def test_the_same_seed_hits_the_same_victim(inject: Inject) -> None:
    hit = []
    for seed in (*range(8), *range(8)):
        async with inject("client frozen", seed) as victim:
            hit.append(victim)
    assert hit[:8] == hit[8:]
    assert {*hit} == {"client-a", "client-b"}


async def test_without_clients_none_is_hit(cluster: Cluster) -> None:
    for kind in ("client killed", "client frozen", "client's clock stepped"):
        with pytest.raises(ImpossibleError):
            async with KINDS[kind](Scene(cluster), random.Random(0)):
                pass


async def test_servers_are_restarted_in_turn_under_a_hold_and_a_queue(inject: Inject, cluster: Cluster) -> None:
    targets = ",".join(server.targets[0] for server in cluster.servers)
    pids = [server.process.pid for server in cluster.servers]
    async with lockstream.connect(targets) as client, client.session() as holder, client.session() as waiter:
        lock = await holder.acquire("turn")
        waiting = await queue_up(waiter, "turn")
        before = await until_queued(client, "turn", 1)
        async with inject("servers restarted in turn") as victims:
            assert sorted(victims.split()) == [server.name for server in cluster.servers]
        assert not {*pids} & {server.process.pid for server in cluster.servers}
        after = await until_queued(client, "turn", 1)
        assert [entry.token for entry in before.entries] == [entry.token for entry in after.entries]
        assert lock.held
        await lock.release()
        assert (await waiting).token == before.waiters[0].token
