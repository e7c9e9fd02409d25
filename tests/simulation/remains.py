"""What is left of a world that everybody has left: nothing, or it is a violation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lockstream_server.core.changes import Snapshot

if TYPE_CHECKING:
    from tests.simulation.servers import LockServer
    from tests.simulation.world import World


def remains(world: "World") -> Iterator[str]:
    """One sentence for each thing that is left."""
    truth = world.etcd.truth
    snapshot: Snapshot = truth.history.state(truth.history.newest)
    if snapshot.entries or snapshot.sessions or snapshot.evictions:
        yield f"etcd still has {snapshot}"
    if "leases=0" not in repr(truth):
        yield f"etcd still has leases: {truth!r}"
    for server in world.servers:
        yield from _remains_of(server, truth.history.newest)
    for client in world.clients:
        if tasks := client.process.tasks():
            yield f"{client.name} still has tasks: {tasks}"
    if world.network.calls:
        yield f"calls are still open: {[*world.network.calls]}"


def _remains_of(server: "LockServer", newest: int) -> Iterator[str]:
    registry = server.registry
    table = registry.host.table
    if table.revision != newest:
        yield f"{server.name} is at revision {table.revision} of {newest}"
    if table.locks or table.sessions or table.evictions:
        yield f"{server.name} still has {table!r}"
    if registry.sessions:
        yield f"{server.name} still has sessions: {registry.sessions}"
    if "Clients({})" not in repr(registry.host.clients):
        yield f"{server.name} still counts {registry.host.clients}"
    if not server.link.idle:
        yield f"{server.name} still asks etcd: {server.link}"
    if tasks := [task for task in server.process.tasks() if task is not server.following]:
        yield f"{server.name} still has tasks: {tasks}"
