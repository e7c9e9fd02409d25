"""What operators may do to other people's locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream._errors import InvalidArgument
from lockstream._requests import build
from lockstream._views import eviction_view
from lockstream.v1 import admin_pb2, service_pb2

if TYPE_CHECKING:
    from lockstream._calls import Calls
    from lockstream._views import EvictionView


class Admin:
    """Breaks locks and ends sessions; `Client.admin`.

    What the holder was doing is not stopped by this: only its fencing token keeps it out. `reason` (1 to 1024 bytes)
    and `actor` (1 to 256 bytes: who asks, which nobody checks) are told to the holder and kept for an hour; see
    `Client.list_evictions`.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def force_release(
        self,
        name: str,
        *,
        token: int | None = None,
        any: bool = False,  # noqa: A002 - the word of the protocol
        reason: str,
        actor: str,
    ) -> list[EvictionView]:
        """Take a lock away from whoever holds it: the hold with this fencing token, or `any` holds that there are.

        The holders are told (FORCE_RELEASED) and the next in the queue is granted. Returns the holds that were evicted.

        Raises:
            NotHeld: the token holds no longer, or nobody holds; also when an attempt before, whose answer was lost on
                the way, has done it.
            InvalidArgument: neither or both of `token` and `any`, a text of the wrong length, or something that no
                request can say.
        """
        if (token is None) != any:
            raise InvalidArgument("state the token of the hold to break, or any=True")
        if token is None:
            request = build(admin_pb2.ForceReleaseRequest, name=name, any=True, reason=reason, actor=actor)
            # Sent twice, it could break the hold of whoever was granted after the first. So what can be repeated finds
            # a server that answers, and this is sent there once.
            look = build(service_pb2.GetLockRequest, name=name)
            await self._calls.make(lambda channel, limit: channel.stub.GetLock(look, timeout=limit))
        else:
            request = build(admin_pb2.ForceReleaseRequest, name=name, token=token, reason=reason, actor=actor)
        response = await self._calls.make(
            lambda channel, limit: channel.admin.ForceRelease(request, timeout=limit), repeatable=token is not None
        )
        return [eviction_view(eviction) for eviction in response.evictions]

    async def end_session(self, session_id: str, *, reason: str, actor: str) -> EvictionView:
        """End a session, and tell its client: every queue place is free, and all that it holds without a lock delay.

        Raises:
            SessionExpired: there is no such session; also when an attempt before, whose answer was lost on the way,
                has ended it.
        """
        request = build(admin_pb2.EndSessionRequest, session_id=session_id, reason=reason, actor=actor)
        response = await self._calls.make(lambda channel, limit: channel.admin.EndSession(request, timeout=limit))
        return eviction_view(response.eviction)
