"""One stream: requests in, replies and events out."""

import logging
from collections.abc import Callable

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.messages import (
    Acquire,
    AcquireAll,
    Cancel,
    Close,
    Downgrade,
    Heartbeat,
    Open,
    Release,
    Request,
    RequestYield,
    Resume,
    SetValue,
    Upgrade,
)
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.registry import Registry
from lockstream_server.sessions.session import Session

log = logging.getLogger(__name__)


class Conversation:
    """Requests of one stream, each answered exactly once. A request that fails disturbs no other."""

    def __init__(self, registry: Registry, overflow: Callable[[], object]) -> None:
        """`overflow` is called when the client does not read and its outbox is full."""
        self._registry = registry
        self._session: Session | None = None
        self._overflow = overflow
        self.outbox = Outbox(registry.host.bounds.outbox_events, self._overflowed)

    def __repr__(self) -> str:
        return f"Conversation({self._session!r})"

    async def begin(self, request_id: int, request: Open | Resume) -> None:
        """Handle the request that begins the conversation."""
        if self._session is not None:
            error = LockError(Reason.WRONG_STATE, "the stream has a session already")
            self.outbox.reply(request_id, error)
            return
        try:
            if isinstance(request, Open):
                self._session = await self._registry.open(request_id, request, self.outbox)
            else:
                self._session = await self._registry.resume(request_id, request, self.outbox)
        except LockError as error:
            self.outbox.reply(request_id, error)
        except Exception as defect:  # noqa: BLE001 - whatever it is, it must not end anybody's session
            self._defect(request_id, defect)

    def handle(self, request_id: int, request: Request) -> None:
        """Handle any other request."""
        if self._session is None:
            error = LockError(Reason.WRONG_STATE, "open or resume a session first")
            self.outbox.reply(request_id, error)
            return
        try:
            self._dispatch(self._session, request_id, request)
        except LockError as error:
            self.outbox.reply(request_id, error)
        except Exception as defect:  # noqa: BLE001 - whatever it is, it must not end anybody's session
            self._defect(request_id, defect)

    @staticmethod
    def _dispatch(session: Session, request_id: int, request: Request) -> None:
        match request:
            case Acquire():
                session.requests().acquire(request_id, request)
            case Release():
                session.requests().release(request_id, request)
            case Heartbeat():
                session.heartbeat(request_id)
            case Cancel():
                session.requests().cancel(request_id, request)
            case AcquireAll():
                session.requests().acquire_all(request_id, request)
            case Upgrade():
                session.requests().upgrade(request_id, request)
            case Downgrade():
                session.requests().downgrade(request_id, request)
            case SetValue():
                session.requests().set_value(request_id, request)
            case RequestYield():
                session.requests().request_yield(request_id, request)
            case Close():
                session.close(request_id)
            case Open() | Resume():
                raise AssertionError("these begin a conversation")

    def end(self) -> None:
        """The client sends no more.

        A session that it closed before still answers that, and closes the outbox afterwards.
        """
        if self._session is not None:
            self._session.detach()
        else:
            self.outbox.close()

    def _overflowed(self) -> None:
        self._registry.host.counters.outbox_overflows += 1
        self._overflow()

    def _defect(self, request_id: int, defect: Exception) -> None:
        log.error("a request failed unexpectedly", exc_info=defect)
        self.outbox.reply(request_id, LockError(Reason.INTERNAL, "a defect of the server; its log has more"))
