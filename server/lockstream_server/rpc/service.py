"""The LockService: the Session stream and the reads."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import grpc

from lockstream.v1 import service_pb2, service_pb2_grpc, session_pb2
from lockstream_server.core.errors import LockError, Reason, invalid
from lockstream_server.core.messages import Open, Resume
from lockstream_server.core.model import check_name, parse_session, session_text
from lockstream_server.core.table import Snapshot, Table
from lockstream_server.rpc import convert
from lockstream_server.rpc.decoding import Undecodable
from lockstream_server.rpc.errors import abort
from lockstream_server.sessions.conversation import Conversation
from lockstream_server.sessions.registry import Registry

log = logging.getLogger(__name__)

MAX_REQUESTS_PER_FRAME = 1024
MAX_RESPONSES_PER_FRAME = 1024

_BEGINNINGS = (Open, Resume)

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


def typed_errors(
    method: Callable[[Any, Any, Context], Awaitable[T]],
) -> Callable[[Any, Any, Context], Awaitable[T]]:
    """End a unary call with the status of whatever LockError it raises."""

    @wraps(method)
    async def call(self: Any, request: Any, context: Context) -> T:
        if isinstance(request, Undecodable):
            await abort(context, request.error())
        try:
            return await method(self, request, context)
        except LockError as error:
            await abort(context, error)
            raise  # not reached: abort raises

    return call


class LockService(service_pb2_grpc.LockServiceServicer):
    """Unpacks, calls one thing, packs."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def _table(self) -> Table:
        return self._registry.host.table

    async def Session(  # type: ignore[override]  # the stub knows no coroutine handlers
        self, request_iterator: Any, context: Context
    ) -> None:
        """One session; see service.proto.

        Written over read and write, because a generator parked at a yield would be finalised in another task.
        """
        writer: asyncio.Task[None]
        conversation = Conversation(
            self._registry, overflow=lambda: asyncio.get_running_loop().call_soon(writer.cancel)
        )
        writer = asyncio.ensure_future(self._write(conversation, context))
        reader = asyncio.ensure_future(self._read(conversation, context))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            conversation.end()
            if not conversation.outbox.overflowed:
                await asyncio.wait((writer,))  # what is on its way may still arrive
        finally:
            conversation.end()
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        if conversation.outbox.overflowed:
            await abort(context, LockError(Reason.SLOW_CONSUMER, "the client does not read its events"))
        for task in (reader, writer):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _read(self, conversation: Conversation, context: Context) -> None:
        """Hand over requests until the client sends no more."""
        while isinstance(message := await context.read(), session_pb2.SessionRequest):
            if len(message.requests) > MAX_REQUESTS_PER_FRAME:
                detail = f"has {len(message.requests)} requests, more than {MAX_REQUESTS_PER_FRAME}"
                await abort(context, invalid("requests", detail))
            for request in message.requests:
                try:
                    asked = convert.request(request)
                except LockError as error:
                    conversation.outbox.reply(request.request_id, error)
                    continue
                if isinstance(asked, _BEGINNINGS):
                    await conversation.begin(request.request_id, asked)
                else:
                    conversation.handle(request.request_id, asked)
            await conversation.outbox.room()
        if isinstance(message, Undecodable):
            await abort(context, message.error())

    async def _write(self, conversation: Conversation, context: Context) -> None:
        """Write whatever is ready until there will be no more."""
        outbox = conversation.outbox
        while outgoing := await outbox.take(MAX_RESPONSES_PER_FRAME):
            await context.write(convert.frame(outgoing))

    @typed_errors
    async def GetLock(self, request: service_pb2.GetLockRequest, context: Context) -> service_pb2.GetLockResponse:
        """Read one lock."""
        check_name(request.name)
        table = await self._read_lock(request.name) if request.linearizable else self._table
        queue = table.locks.get(request.name)
        return service_pb2.GetLockResponse(lock=convert.lock(request.name, queue), revision=table.revision)

    @typed_errors
    async def CheckToken(
        self, request: service_pb2.CheckTokenRequest, context: Context
    ) -> service_pb2.CheckTokenResponse:
        """Tell whether a token is current."""
        check_name(request.name)
        token = convert.token(request.token)
        table = await self._read_lock(request.name)
        queue = table.locks.get(request.name)
        holders = queue.entries[: queue.holding] if queue is not None else []
        held = any(entry.token == token for entry in holders)
        return service_pb2.CheckTokenResponse(held=held, revision=table.revision)

    @typed_errors
    async def ListLocks(self, request: service_pb2.ListLocksRequest, context: Context) -> service_pb2.ListLocksResponse:
        """List locks by name."""
        size = convert.page_size(request.page_size)
        locks = self._current_table().locks
        names = sorted(name for name in locks if name > request.page_token and name.startswith(request.prefix))
        return service_pb2.ListLocksResponse(
            locks=[convert.lock(name, locks[name]) for name in names[:size]],
            next_page_token=names[size - 1] if len(names) > size else "",
            revision=self._table.revision,
        )

    @typed_errors
    async def GetSession(
        self, request: service_pb2.GetSessionRequest, context: Context
    ) -> service_pb2.GetSessionResponse:
        """Read one session."""
        identifier = convert.session_id(request.session_id)
        table = self._current_table()
        live = table.sessions.get(identifier)
        if live is None or live.record is None:
            raise convert.not_found(identifier)
        found = convert.session(identifier, live.record, live, table.position)
        return service_pb2.GetSessionResponse(session=found, revision=table.revision)

    @typed_errors
    async def ListSessions(
        self, request: service_pb2.ListSessionsRequest, context: Context
    ) -> service_pb2.ListSessionsResponse:
        """List sessions by identifier."""
        size = convert.page_size(request.page_size)
        after = parse_session(request.page_token) if request.page_token else 0
        if after is None:
            raise invalid("page_token", "is not one that this service gave")
        table = self._current_table()
        live = sorted((key, one, one.record) for key, one in table.sessions.items() if key > after and one.record)
        return service_pb2.ListSessionsResponse(
            sessions=[convert.session(key, record, one, table.position) for key, one, record in live[:size]],
            next_page_token=session_text(live[size - 1][0]) if len(live) > size else "",
            revision=table.revision,
        )

    def _current_table(self) -> Table:
        """The table, once it was read. Raises LockError (STORE_UNAVAILABLE) before."""
        if not self._table.revision:
            raise LockError(Reason.STORE_UNAVAILABLE, "this server has not reached etcd yet")
        return self._table

    async def _read_lock(self, name: str) -> Table:
        """A table of one lock alone, read linearizably: its grants follow from its entries and nothing else."""
        snapshot: Snapshot = await self._registry.host.store.read_lock(name)
        table = Table()
        table.fold(table.difference(snapshot))
        return table
