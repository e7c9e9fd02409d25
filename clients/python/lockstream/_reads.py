"""What a client can look up: locks, sessions, tokens and evictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

from lockstream._errors import HistoryCompacted
from lockstream._requests import build
from lockstream._views import (
    EvictionView,
    LockView,
    SessionView,
    TokenView,
    eviction_view,
    lock_view,
    session_view,
)
from lockstream.v1 import service_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lockstream._calls import Calls
    from lockstream._channels import Channel

PAGE_SIZE = 1000
"""Locks or sessions in one answer: the most that a server gives."""

LISTING_ATTEMPTS = 3
"""How often a listing is begun. It is begun again when etcd's compaction, minutes apart, comes between two pages."""

Listing: TypeAlias = service_pb2.ListLocksRequest | service_pb2.ListSessionsRequest
Page = TypeVar("Page", service_pb2.ListLocksResponse, service_pb2.ListSessionsResponse)


class Reads:
    """What a client can look up.

    Every method raises InvalidArgument for what no request can say, and another LockstreamError when no endpoint
    answers in time.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def get_lock(self, name: str, *, linearizable: bool = False) -> LockView:
        """One lock, by the answering server's view or, `linearizable`, by etcd's newest state."""
        request = build(service_pb2.GetLockRequest, name=name, linearizable=linearizable)
        response = await self._calls.make(lambda channel, limit: channel.stub.GetLock(request, timeout=limit))
        return lock_view(response.lock, response.revision)

    async def list_locks(
        self, prefix: str = "", *, held: bool = False, contended: bool = False, session_id: str = ""
    ) -> list[LockView]:
        """The locks that are held or awaited and whose names begin with `prefix`, by name, at one revision.

        Args:
            prefix: only names that begin with this.
            held: only locks that somebody holds, or that a session which is over keeps taken.
            contended: only locks for which somebody waits.
            session_id: only locks that this session holds or awaits.
        """
        request = build(
            service_pb2.ListLocksRequest,
            prefix=prefix,
            page_size=PAGE_SIZE,
            held=held,
            contended=contended,
            session_id=session_id,
        )
        pages = await self._pages(request, lambda channel, limit: channel.stub.ListLocks(request, timeout=limit))
        return [lock_view(lock, page.revision) for page in pages for lock in page.locks]

    async def check_token(self, name: str, token: int) -> bool:
        """Whether this fencing token holds the lock at this moment. Linearizable."""
        return (await self.inspect_token(name, token)).held

    async def inspect_token(self, name: str, token: int) -> TokenView:
        """As `check_token`, with the revision at which that was so and the highest token known to have been granted.

        What guards something can learn from it how far it has to have seen, after a restart for instance.
        """
        request = build(service_pb2.CheckTokenRequest, name=name, token=token)
        response = await self._calls.make(lambda channel, limit: channel.stub.CheckToken(request, timeout=limit))
        return TokenView(held=response.held, highest_token=response.highest_token, revision=response.revision)

    async def get_session(self, session_id: str) -> SessionView:
        """One session; NotFound when there is none."""
        request = build(service_pb2.GetSessionRequest, session_id=session_id)
        response = await self._calls.make(lambda channel, limit: channel.stub.GetSession(request, timeout=limit))
        return session_view(response.session, response.revision)

    async def list_sessions(self, *, client_name: str = "", server: str = "") -> list[SessionView]:
        """The live sessions of the whole service, by identifier, at one revision.

        Args:
            client_name: only sessions whose client gave itself this name.
            server: only sessions attached to this server, or last attached to it.
        """
        request = build(service_pb2.ListSessionsRequest, page_size=PAGE_SIZE, client_name=client_name, server=server)
        pages = await self._pages(request, lambda channel, limit: channel.stub.ListSessions(request, timeout=limit))
        return [session_view(session, page.revision) for page in pages for session in page.sessions]

    async def list_evictions(self, name: str = "", *, session_id: str = "") -> list[EvictionView]:
        """Who was evicted within the last hour, the newest first, a thousand at the most.

        Args:
            name: only evictions from this lock.
            session_id: only evictions of this session.
        """
        request = build(service_pb2.ListEvictionsRequest, name=name, session_id=session_id)
        response = await self._calls.make(lambda channel, limit: channel.stub.ListEvictions(request, timeout=limit))
        return [eviction_view(eviction) for eviction in response.evictions]

    async def _pages(self, request: Listing, call: Callable[[Channel, float], Awaitable[Page]]) -> list[Page]:
        """Every page that `call` fetches with `request`, all of one revision."""
        attempts = 0
        while True:
            pages: list[Page] = []
            request.page_token = ""
            try:
                while not pages or request.page_token:
                    pages.append(await self._calls.make(call))
                    request.page_token = pages[-1].next_page_token
            except HistoryCompacted:
                attempts += 1
                if attempts == LISTING_ATTEMPTS:
                    raise
            else:
                return pages
