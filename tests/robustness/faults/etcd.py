"""What an operator, a full disk and a slow one do to etcd."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from tests.robustness.cluster.cluster import HEALTHY_SECONDS
from tests.robustness.faults.fault import ImpossibleError, Scene
from tests.robustness.faults.roles import a_follower, the_leader
from tests.support.link import Impairment
from tests.support.waiting import eventually

DISK_SECONDS = (0.05, 0.4)
"""How late everything is that a member with a slow disk says to its peers; below etcd's election timeout of 1 s."""


@asynccontextmanager
async def _possible() -> AsyncIterator[None]:
    """What etcd refuses or has no majority for is impossible now."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise ImpossibleError(f"{error.code().name}: {error.details()}") from None


@asynccontextmanager
async def leader_moved(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """Leadership is handed to another member."""
    [before], [after] = await the_leader(scene, rng), await a_follower(scene, rng)
    async with _possible():
        await before.admin.move_leader((await after.admin.status()).member_id)
    yield f"{before.name} to {after.name}"


@asynccontextmanager
async def history_compacted(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """All history before now is forgotten, while the servers watch."""
    yield await _compact(scene, rng)


@asynccontextmanager
async def server_behind_compaction(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """A lock server loses its connections to etcd, and the history from where it was is forgotten before it is back."""
    server = rng.choice(scene.cluster.servers)
    members = [member.name for member in scene.cluster.members]
    with scene.cluster.network.refused([server.name], members):
        yield server.name
        await _compact(scene, rng)


@asynccontextmanager
async def database_defragmented(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """One member after the other writes its database anew, and answers nobody meanwhile."""
    order = rng.sample(scene.cluster.members, len(scene.cluster.members))
    for member in order:
        async with _possible():
            await member.admin.defragment()
    yield " ".join(member.name for member in order)


@asynccontextmanager
async def out_of_space(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """New leases are refused, and by newer releases every write that needs space; deleting and renewing still work."""
    member = rng.choice(scene.cluster.members)

    async def disarmed() -> bool:
        try:
            operator = await scene.cluster.leader()
            await operator.admin.disarm_no_space()
        except (grpc.aio.AioRpcError, TimeoutError):
            return False
        return True

    try:
        async with _possible():
            await member.admin.arm_no_space((await member.admin.status()).member_id)
        yield member.name
    finally:
        await eventually(disarmed, "the alarm is disarmed", timeout=2 * HEALTHY_SECONDS)


@asynccontextmanager
async def disk_slow(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """A member, the leader among them, takes long to write what it then acknowledges."""
    victim = rng.choice(scene.cluster.members)
    peers = [member.name for member in scene.cluster.members if member is not victim]
    with scene.cluster.network.impaired([victim.name], peers, Impairment(delay=rng.uniform(*DISK_SECONDS))):
        yield victim.name


async def _compact(scene: Scene, rng: random.Random) -> str:
    member = rng.choice(scene.cluster.members)
    async with _possible():
        revision = await member.admin.revision()
        await member.admin.compact(revision)
    return f"{member.name} at {revision}"
