"""The LockService: the Session stream, and the calls that only look."""

import asyncio
from typing import Any

from lockstream.v1 import service_pb2, session_pb2
from lockstream_server.core.errors import LockError, Reason, invalid
from lockstream_server.core.messages import Open, Resume
from lockstream_server.rpc import requests, responses
from lockstream_server.rpc.decoding import Undecodable
from lockstream_server.rpc.handlers import Context, typed_errors
from lockstream_server.rpc.reads import Reads
from lockstream_server.rpc.watching import WatchCall, asked
from lockstream_server.sessions.conversation import Conversation
from lockstream_server.sessions.past import Past
from lockstream_server.sessions.registry import Registry

MAX_REQUESTS_PER_FRAME = 1024
MAX_RESPONSES_PER_FRAME = 1024

_BEGINNINGS = (Open, Resume)


class LockService(Reads):
    """The streams, beside the reads. Unpacks, calls one thing, packs."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry.host, Past(registry.host.store))
        self._registry = registry

    @typed_errors
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
            raise LockError(Reason.SLOW_CONSUMER, "the client does not read its events")
        for task in (reader, writer):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _read(self, conversation: Conversation, context: Context) -> None:
        """Hand over requests until the client sends no more.

        Raises LockError (INVALID_ARGUMENT) for what ends the stream. Only who writes may say so to the client: the
        status must not cross what the writer is sending.
        """
        while isinstance(message := await context.read(), session_pb2.SessionRequest):
            if len(message.requests) > MAX_REQUESTS_PER_FRAME:
                detail = f"has {len(message.requests)} requests, more than {MAX_REQUESTS_PER_FRAME}"
                raise invalid("requests", detail)
            for request in message.requests:
                try:
                    asked = requests.request(request)
                except LockError as error:
                    conversation.outbox.reply(request.request_id, error)
                    continue
                if isinstance(asked, _BEGINNINGS):
                    await conversation.begin(request.request_id, asked)
                else:
                    conversation.handle(request.request_id, asked)
            await conversation.outbox.room()
        if isinstance(message, Undecodable):
            raise message.error()

    async def _write(self, conversation: Conversation, context: Context) -> None:
        """Write whatever is ready until there will be no more."""
        outbox = conversation.outbox
        while outgoing := await outbox.take(MAX_RESPONSES_PER_FRAME):
            await context.write(responses.frame(outgoing))

    @typed_errors
    async def WatchLocks(  # type: ignore[override]  # as above
        self, request: service_pb2.WatchLocksRequest, context: Context
    ) -> None:
        """Watch locks; see service.proto."""
        watched, after = asked(request)
        self._current_table()
        await WatchCall(self._host, self._past, watched, context).run(after)
