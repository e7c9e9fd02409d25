"""A gRPC server whose Session streams are played by the test, message by message."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from lockstream.v1 import errors_pb2, lock_pb2, session_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from lockstream import ErrorReason, LossReason

    Context: TypeAlias = grpc.aio.ServicerContext[session_pb2.SessionRequest, session_pb2.SessionResponse]

SESSION_ID = "00000000000000a1"
RESUME_TOKEN = "the secret"  # noqa: S105 - nothing is guarded by it


def status(reason: ErrorReason, *, retryable: bool, settled: bool = True) -> status_pb2.Status:
    """An error as servers send it."""
    info = error_details_pb2.ErrorInfo(
        domain="lockstream.v1",
        reason=f"ERROR_REASON_{reason.name}",
        metadata={
            "retryable": str(retryable).lower(),
            "outcome_settled": str(settled).lower(),
        },
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    return status_pb2.Status(code=9, message=f"scripted {reason.name}", details=[detail])


def acquire_id(request: session_pb2.Request) -> int:
    """What a request is about."""
    number = getattr(request, request.WhichOneof("action") or "").acquire_id
    assert isinstance(number, int)
    return number


def claim(request: session_pb2.Request, token: int = 0) -> session_pb2.Claim:
    """What a resume finds of an acquire: held with this token, or waiting."""
    state = lock_pb2.ENTRY_STATE_HELD if token else lock_pb2.ENTRY_STATE_WAITING
    return session_pb2.Claim(acquire_id=acquire_id(request), state=state, token=token, position=0 if token else 1)


def lost(
    request: session_pb2.Request, token: int, reason: LossReason, detail: str = "", actor: str = ""
) -> session_pb2.Event:
    """The news that what was granted to a request is lost."""
    loss = session_pb2.Lost(acquire_id=acquire_id(request), token=token, detail=detail, actor=actor)
    loss.reason = errors_pb2.LossReason.Value(f"LOSS_REASON_{reason.name}")
    return session_pb2.Event(lost=loss)


class PlayedStream:
    """The server's end of one stream."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._requests: deque[session_pb2.Request] = deque()
        self._sequence = 0
        self.ended = asyncio.Event()
        self.largest_frame = 0
        """Bytes."""

    async def receive(self) -> session_pb2.Request:
        """The next request."""
        while not self._requests:
            frame = await self._context.read()
            assert isinstance(frame, session_pb2.SessionRequest), "the client left the stream"
            self.largest_frame = max(self.largest_frame, frame.ByteSize())
            self._requests.extend(frame.requests)
        return self._requests.popleft()

    @property
    def unread(self) -> int:
        """Requests that came in one frame with the last one received."""
        return len(self._requests)

    async def expect(self, action: str) -> session_pb2.Request:
        """The next request that is no heartbeat; it must be of this kind."""
        while (request := await self.receive()).WhichOneof("action") == "heartbeat":
            await self.prove(request)
        assert request.WhichOneof("action") == action, request
        return request

    async def reply(self, request: session_pb2.Request, reply: session_pb2.Reply) -> None:
        reply.request_id = request.request_id
        response = session_pb2.Response(reply=reply)
        await self._context.write(session_pb2.SessionResponse(responses=[response]))

    async def push(self, *events: session_pb2.Event) -> None:
        """Events, in one frame."""
        frame = session_pb2.SessionResponse()
        for event in events:
            self._sequence += 1
            event.sequence = self._sequence
            frame.responses.add(event=event)
        await self._context.write(frame)

    async def attach(
        self,
        *,
        ttl: float = 10,
        claims: Iterable[session_pb2.Claim] = (),
        action: str = "open",
        generation: int = 1,
    ) -> session_pb2.Request:
        """Answer the greeting."""
        greeting = await self.expect(action)
        attached = session_pb2.Attached(session_id=SESSION_ID, claims=claims, server="scripted", generation=generation)
        if action == "open":
            attached.resume_token = RESUME_TOKEN
        for duration in (attached.ttl, attached.detach_grace, attached.remaining):
            duration.FromNanoseconds(int(ttl * 1e9))
        await self.reply(greeting, session_pb2.Reply(attached=attached))
        return greeting

    async def prove(self, heartbeat: session_pb2.Request, remaining: float = 10) -> None:
        proof = session_pb2.Proof()
        proof.remaining.FromNanoseconds(int(remaining * 1e9))
        await self.reply(heartbeat, session_pb2.Reply(proof=proof))

    async def grant(self, token: int = 7, action: str = "acquire") -> session_pb2.Request:
        """Grant the acquire (or `acquire_all`, or `upgrade`) that comes next."""
        request = await self.expect(action)
        granted = session_pb2.Granted(acquire_id=acquire_id(request), token=token)
        await self.reply(request, session_pb2.Reply(granted=granted))
        return request

    async def queue(self, position: int = 1, action: str = "acquire") -> session_pb2.Request:
        """Queue the acquire (or `acquire_all`, or `upgrade`) that comes next."""
        request = await self.expect(action)
        queued = session_pb2.Queued(acquire_id=acquire_id(request), position=position)
        await self.reply(request, session_pb2.Reply(queued=queued))
        return request

    async def release(self) -> session_pb2.Request:
        """Answer the release that comes next."""
        request = await self.expect("release")
        await self.reply(request, session_pb2.Reply(released=session_pb2.Released()))
        return request

    async def cancel(self) -> session_pb2.Request:
        """Answer the cancel that comes next."""
        request = await self.expect("cancel")
        await self.reply(request, session_pb2.Reply(cancelled=session_pb2.Cancelled()))
        return request

    async def downgrade(self) -> session_pb2.Request:
        """Answer the downgrade that comes next."""
        request = await self.expect("downgrade")
        await self.reply(request, session_pb2.Reply(downgraded=session_pb2.Downgraded()))
        return request

    async def set_value(self) -> session_pb2.Request:
        """Answer the set_value that comes next."""
        request = await self.expect("set_value")
        await self.reply(request, session_pb2.Reply(value_set=session_pb2.ValueSet()))
        return request

    async def refuse(self, request: session_pb2.Request, reason: ErrorReason, **nature: bool) -> None:
        """Answer a request with an error that is settled, unless said otherwise."""
        error = status(reason, retryable=nature.get("retryable", False), settled=nature.get("settled", True))
        await self.reply(request, session_pb2.Reply(error=error))

    async def close(self) -> None:
        """Answer the close that comes next, and end the stream."""
        await self.reply_to_close(await self.expect("close"))

    async def reply_to_close(self, request: session_pb2.Request) -> None:
        """The session is closed; end the stream."""
        await self.reply(request, session_pb2.Reply(closed=session_pb2.Closed()))
        self.ended.set()


class ScriptedServer:
    """Hands every stream that is opened to the test."""

    def __init__(self) -> None:
        self._streams: asyncio.Queue[PlayedStream] = asyncio.Queue()
        self.target = ""

    async def play(self, _requests: object, context: Context) -> None:
        stream = PlayedStream(context)
        self._streams.put_nowait(stream)
        await stream.ended.wait()

    async def stream(self) -> PlayedStream:
        """The stream that was, or will be, opened next."""
        return await self._streams.get()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """A server on a free port."""
    servicer = ScriptedServer()
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(
        servicer.play,
        request_deserializer=session_pb2.SessionRequest.FromString,
        response_serializer=session_pb2.SessionResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler("lockstream.v1.LockService", {"Session": method})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    servicer.target = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield servicer
    finally:
        await server.stop(None)
