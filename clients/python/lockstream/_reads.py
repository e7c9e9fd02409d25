"""The unary calls of a client, tried at one endpoint after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import grpc

from lockstream._backoff import Backoff
from lockstream._errors import (
    LockstreamError,
    ServerDraining,
    ServerUnavailable,
    StoreUnavailable,
    from_rpc,
)
from lockstream._views import LockView, SessionView, lock_view, session_view
from lockstream.v1 import service_pb2, service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lockstream._channels import Channels
    from lockstream._options import Options

Response = TypeVar("Response")

ELSEWHERE = (ServerUnavailable, ServerDraining, StoreUnavailable)
"""Failures that another endpoint, or a later attempt, may not have. Reads are safe to repeat."""

PAGE_SIZE = 1000


class Reads:
    """What a client can look up.

    Every method raises a LockstreamError when no endpoint answers in time.
    """

    def __init__(self, channels: Channels, options: Options) -> None:
        self._channels = channels
        self._options = options

    async def get_lock(self, name: str, *, linearizable: bool = False) -> LockView:
        """One lock, by the answering server's view or, `linearizable`, by etcd's newest state."""
        request = service_pb2.GetLockRequest(name=name, linearizable=linearizable)
        response = await self._call(lambda stub, limit: stub.GetLock(request, timeout=limit))
        return lock_view(response.lock, response.revision)

    async def list_locks(self, prefix: str = "") -> list[LockView]:
        """The locks that are held or awaited and whose names begin with `prefix`, by name."""
        request = service_pb2.ListLocksRequest(prefix=prefix, page_size=PAGE_SIZE)
        locks: list[LockView] = []
        while True:
            page = await self._call(lambda stub, limit: stub.ListLocks(request, timeout=limit))
            locks += (lock_view(lock, page.revision) for lock in page.locks)
            request.page_token = page.next_page_token
            if not request.page_token:
                return locks

    async def check_token(self, name: str, token: int) -> bool:
        """Whether this fencing token holds the lock at this moment. Linearizable."""
        request = service_pb2.CheckTokenRequest(name=name, token=token)
        response = await self._call(lambda stub, limit: stub.CheckToken(request, timeout=limit))
        return response.held

    async def get_session(self, session_id: str) -> SessionView:
        """One session; NotFound when there is none."""
        request = service_pb2.GetSessionRequest(session_id=session_id)
        response = await self._call(lambda stub, limit: stub.GetSession(request, timeout=limit))
        return session_view(response.session, response.revision)

    async def list_sessions(self) -> list[SessionView]:
        """The live sessions of the whole service, by identifier."""
        request = service_pb2.ListSessionsRequest(page_size=PAGE_SIZE)
        sessions: list[SessionView] = []
        while True:
            page = await self._call(lambda stub, limit: stub.ListSessions(request, timeout=limit))
            sessions += (session_view(session, page.revision) for session in page.sessions)
            request.page_token = page.next_page_token
            if not request.page_token:
                return sessions

    async def _call(
        self,
        call: Callable[[service_pb2_grpc.LockServiceAsyncStub, float], Awaitable[Response]],
    ) -> Response:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.connect_timeout
        backoff = Backoff(self._options.backoff_min, self._options.backoff_max)
        while True:
            channel = self._channels.current()
            try:
                return await call(channel.stub, max(deadline - loop.time(), 0.001))
            except grpc.aio.AioRpcError as failure:
                error: LockstreamError = from_rpc(failure)
            pause = backoff.next()
            if not isinstance(error, ELSEWHERE) or loop.time() + pause >= deadline:
                raise error
            self._channels.failed(channel)
            await asyncio.sleep(pause)
