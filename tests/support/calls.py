"""Unary calls by generated stubs, as plain as they come."""

from typing import Self

import grpc

from lockstream.v1 import admin_pb2, admin_pb2_grpc, lock_pb2, service_pb2, service_pb2_grpc
from tests.support.waiting import eventually


class Stubs:
    """The read and the admin service of one server."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._channel = grpc.aio.insecure_channel(target)
        self.locks: service_pb2_grpc.LockServiceAsyncStub = service_pb2_grpc.LockServiceStub(self._channel)
        self.admin: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._channel.close()

    async def entries(self, name: str) -> list[lock_pb2.Entry]:
        """The queue of a lock as etcd has it now."""
        answer = await self.locks.GetLock(service_pb2.GetLockRequest(name=name, linearizable=True))
        return list(answer.lock.entries)

    async def evictions(self, name: str = "", session_id: str = "", *, least: int = 0) -> list[lock_pb2.Eviction]:
        """The evictions of the last hour, once this server, which may lag behind others, knows of so many."""
        asked = service_pb2.ListEvictionsRequest(name=name, session_id=session_id)
        found: list[lock_pb2.Eviction] = []

        async def enough() -> bool:
            found[:] = (await self.locks.ListEvictions(asked)).evictions
            return len(found) >= least

        await eventually(enough, f"{least} evictions on record")
        return found

    async def force_release(
        self, name: str, *, token: int | None = None, reason: str = "stuck", actor: str = "operator"
    ) -> list[lock_pb2.Eviction]:
        """Take the hold with this token away, or whichever there is."""
        asked = admin_pb2.ForceReleaseRequest(name=name, reason=reason, actor=actor)
        if token is None:
            asked.any = True
        else:
            asked.token = token
        return list((await self.admin.ForceRelease(asked)).evictions)
