"""Trouble on the links: between members, from lock servers to members, and from clients to lock servers.

Every trouble is done to every kind of link, so both are named here once and combined.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

from tests.robustness.cluster import Member, Network
from tests.robustness.faults.fault import Fault, Scene
from tests.robustness.faults.roles import a_follower, the_leader
from tests.support.link import DROPPED, HELD, Impairment

Side = list[str]
"""Names of ends in the network."""
Sides = Callable[[Scene, random.Random], Awaitable[tuple[Side, Side]]]
"""Draws whom to part; the first side is the one to be pitied."""
Trouble = Callable[[Network, Side, Side, random.Random], AbstractContextManager[None]]
"""Does one sort of harm between two sides."""

SLOW_SECONDS = (0.05, 0.5)
"""How late everything is on a slow link."""


def on_links(sides: Sides, trouble: Trouble) -> Fault:
    """The fault that draws its two sides and does this harm between them."""

    @asynccontextmanager
    async def fault(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
        some, others = await sides(scene, rng)
        with trouble(scene.cluster.network, some, others, rng):
            yield f"{' '.join(some)} | {' '.join(others)}"

    return fault


async def leader_and_others(scene: Scene, rng: random.Random) -> tuple[Side, Side]:
    """The leader of etcd, and its followers."""
    return _one_and_others(scene, *await the_leader(scene, rng))


async def follower_and_others(scene: Scene, rng: random.Random) -> tuple[Side, Side]:
    """A follower, and all other members."""
    return _one_and_others(scene, *await a_follower(scene, rng))


def _one_and_others(scene: Scene, one: Member) -> tuple[Side, Side]:
    return [one.name], [member.name for member in scene.cluster.members if member is not one]


async def two_members(scene: Scene, rng: random.Random) -> tuple[Side, Side]:
    """Two members who cannot reach each other, while both reach the third."""
    one, other = rng.sample(scene.cluster.members, 2)
    return [one.name], [other.name]


async def server_and_member(scene: Scene, rng: random.Random) -> tuple[Side, Side]:
    """A lock server and the member that it talks to; it may go to another."""
    server = rng.choice(scene.cluster.servers).name
    members = [member.name for member in scene.cluster.members]
    talking = [member for member in members if scene.cluster.network.link(server, member).connections]
    return [server], [rng.choice(talking or members)]


async def server_and_leader(scene: Scene, rng: random.Random) -> tuple[Side, Side]:
    """A lock server and the leader of etcd, where leases are best renewed; the rest of the cluster reaches both."""
    return [rng.choice(scene.cluster.servers).name], [member.name for member in await the_leader(scene, rng)]


async def server_and_etcd(scene: Scene, rng: random.Random) -> tuple[Side, Side]:
    """A lock server and every member."""
    return [rng.choice(scene.cluster.servers).name], [member.name for member in scene.cluster.members]


async def clients_and_server(scene: Scene, rng: random.Random) -> tuple[Side, Side]:
    """The clients of one link and one lock server; they may go to another."""
    return [rng.choice(scene.cluster.clients)], [rng.choice(scene.cluster.servers).name]


async def clients_and_servers(scene: Scene, rng: random.Random) -> tuple[Side, Side]:
    """The clients of one link and every lock server."""
    return [rng.choice(scene.cluster.clients)], [server.name for server in scene.cluster.servers]


@contextmanager
def cut_off(network: Network, some: Side, others: Side, rng: random.Random) -> Iterator[None]:
    """Nothing arrives either way, and no connection ends; what was said arrives in the end."""
    with network.impaired(some, others, HELD), network.impaired(others, some, HELD):
        yield


@contextmanager
def lossy(network: Network, some: Side, others: Side, rng: random.Random) -> Iterator[None]:
    """What is said either way is lost; connections that lost something break in the end."""
    with network.impaired(some, others, DROPPED), network.impaired(others, some, DROPPED):
        yield


@contextmanager
def mute(network: Network, some: Side, others: Side, rng: random.Random) -> Iterator[None]:
    """They hear what the others say and are not heard: late, or never."""
    with network.impaired(some, others, rng.choice([HELD, DROPPED])):
        yield


@contextmanager
def deaf(network: Network, some: Side, others: Side, rng: random.Random) -> Iterator[None]:
    """They are heard and hear nothing: the others' outboxes fill up, unless what they say is lost on the way."""
    with network.impaired(others, some, rng.choice([HELD, DROPPED])):
        yield


@contextmanager
def refused(network: Network, some: Side, others: Side, rng: random.Random) -> Iterator[None]:
    """Connections break at once, those there are and those that are tried."""
    with network.refused(some, others):
        yield


@contextmanager
def slow(network: Network, some: Side, others: Side, rng: random.Random) -> Iterator[None]:
    """Everything takes its time, either way."""
    late = Impairment(delay=rng.uniform(*SLOW_SECONDS))
    with network.impaired(some, others, late), network.impaired(others, some, late):
        yield


PEER_LINKS: dict[str, Sides] = {
    "leader": leader_and_others,
    "follower": follower_and_others,
    "two members": two_members,
}
STORE_LINKS: dict[str, Sides] = {
    "server to a member": server_and_member,
    "server to leader": server_and_leader,
    "server to etcd": server_and_etcd,
}
CLIENT_LINKS: dict[str, Sides] = {
    "clients to a server": clients_and_server,
    "clients to all servers": clients_and_servers,
}
TROUBLES: dict[str, Trouble] = {
    "cut off": cut_off,
    "lossy": lossy,
    "mute": mute,
    "deaf": deaf,
    "refused": refused,
    "slow": slow,
}
