"""Who is hit: processes by the part they play when a fault begins."""

import random
from collections.abc import Awaitable, Callable, Sequence

from tests.robustness.cluster import LockServer, Member
from tests.robustness.faults.fault import ClientProcess, ImpossibleError, Process, Scene

Role = Callable[[Scene, random.Random], Awaitable[Sequence[Process]]]
"""Draws the victims."""


async def a_server(scene: Scene, rng: random.Random) -> Sequence[LockServer]:
    """One lock server."""
    return [rng.choice(scene.cluster.servers)]


async def all_servers(scene: Scene, rng: random.Random) -> Sequence[LockServer]:
    """Every lock server."""
    return scene.cluster.servers


async def the_leader(scene: Scene, rng: random.Random) -> Sequence[Member]:
    """The member that leads."""
    try:
        return [await scene.cluster.leader()]
    except TimeoutError as error:
        raise ImpossibleError(str(error)) from None


async def a_follower(scene: Scene, rng: random.Random) -> Sequence[Member]:
    """A member that does not lead."""
    [leader] = await the_leader(scene, rng)
    return [rng.choice([member for member in scene.cluster.members if member is not leader])]


async def a_majority(scene: Scene, rng: random.Random) -> Sequence[Member]:
    """So many members that the rest cannot commit anything."""
    members = scene.cluster.members
    return rng.sample(members, len(members) // 2 + 1)


async def a_client(scene: Scene, rng: random.Random) -> Sequence[ClientProcess]:
    """One process of a client."""
    if not scene.clients:
        raise ImpossibleError("there is no process of a client")
    return [rng.choice(scene.clients)]
