"""The driver of system `etcd-v3lock`: the lock service inside etcd."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc.aio

from tests.benchmarks.etcd_leases import EtcdLeases
from tests.benchmarks.v3lock.v3lock_pb2 import LockRequest, UnlockRequest
from tests.benchmarks.v3lock.v3lock_pb2_grpc import LockStub

if TYPE_CHECKING:  # exists in the type stubs only
    from tests.benchmarks.v3lock.v3lock_pb2_grpc import LockAsyncStub


class V3LockWorker:
    """A worker with one lease, which identifies it to the service."""

    def __init__(self, locks: "LockAsyncStub", lease: int) -> None:
        self._locks = locks
        self._lease = lease
        self._held = b""

    async def acquire(self, name: str) -> None:
        """Lock `name`; etcd answers when it is held."""
        reply = await self._locks.Lock(LockRequest(name=name.encode(), lease=self._lease))
        self._held = reply.key

    async def release(self) -> None:
        """Unlock what `acquire` locked."""
        await self._locks.Unlock(UnlockRequest(key=self._held))


class V3LockDriver:
    """Workers on one channel to etcd."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._locks = LockStub(channel)
        self._leases = EtcdLeases(channel)

    async def open_workers(self, count: int) -> Sequence[V3LockWorker]:
        """One worker per lease."""
        return [V3LockWorker(self._locks, lease) for lease in await self._leases.grant(count)]

    def queue_prefix(self, name: str) -> str:
        """The service's keys are `NAME/LEASE`."""
        return f"{name}/"

    async def close(self) -> None:
        """Revoke the leases."""
        await self._leases.revoke()
