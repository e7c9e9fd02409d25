"""What comes and goes leaves nothing behind."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import lockstream
from lockstream_server.app import Server
from lockstream_server.settings import Settings
from lockstream_server.store.etcd import EtcdOptions, EtcdStore
from tests.support.etcd import EtcdProcess
from tests.support.processes import LOOPBACK
from tests.support.server import ServerProcess
from tests.support.waiting import eventually

CYCLES = 100
PREFIX = "/lockstream-leaks/"


def file_descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def leases(etcd: EtcdProcess) -> set[str]:
    """Every lease there is."""
    return set(etcd.etcdctl("lease", "list").split()[3:])


def keys(etcd: EtcdProcess, prefix: str) -> set[str]:
    """Every key there is under a prefix."""
    return set(etcd.etcdctl("get", "--prefix", "--keys-only", prefix).split())


async def come_and_go(target: str, name: str) -> None:
    """A client connects, opens two sessions of which one holds and one gives up waiting, and leaves."""
    async with (
        lockstream.connect(target) as client,
        client.session() as holder,
        client.session() as waiter,
        holder.lock(name),
    ):
        with pytest.raises(lockstream.WaitTimeout):
            await waiter.acquire(name, wait=0.005)


@pytest.fixture
async def server_within(etcd: EtcdProcess) -> AsyncIterator[str]:
    """The address of a server in this process and on this event loop, so that its tasks can be counted."""
    store = EtcdStore(EtcdOptions(endpoints=[etcd.endpoint], prefix=PREFIX))
    server = Server(store, Settings(server_name="within"))
    [address] = await server.start([f"{LOOPBACK}:0"])
    try:
        yield address
    finally:
        await server.stop()
        await store.close()


async def test_a_hundred_clients_leave_no_lease_key_or_file_descriptor_behind(
    etcd: EtcdProcess, server: ServerProcess, name: str
) -> None:
    """V4."""
    await come_and_go(server.target, name)
    known_leases, known_keys = leases(etcd), keys(etcd, "/lockstream/")
    ours, theirs = file_descriptors(os.getpid()), file_descriptors(server.pid)
    for _ in range(CYCLES):
        await come_and_go(server.target, name)
    assert leases(etcd) <= known_leases
    assert keys(etcd, "/lockstream/") <= known_keys
    # The ends of connections are closed a moment after their calls.
    await eventually(lambda: file_descriptors(os.getpid()) <= ours, "the client has closed every connection")
    await eventually(lambda: file_descriptors(server.pid) <= theirs, "the server has closed every connection")


async def test_a_hundred_clients_leave_no_task_behind(etcd: EtcdProcess, server_within: str, name: str) -> None:
    """V4. Neither in the client nor in the server."""
    known = leases(etcd)
    await come_and_go(server_within, name)
    before = len(asyncio.all_tasks())
    for _ in range(CYCLES):
        await come_and_go(server_within, name)
    await eventually(lambda: len(asyncio.all_tasks()) <= before, "every task has ended")
    assert leases(etcd) <= known
    assert keys(etcd, PREFIX) == set()
