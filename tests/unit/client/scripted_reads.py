"""A gRPC server whose unary calls and watches are played by the test, call by call."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import grpc

from lockstream.v1 import admin_pb2, lock_pb2, service_pb2
from tests.unit.client.scripted import status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from lockstream import ErrorReason

    Context: TypeAlias = grpc.aio.ServicerContext[Message, Message]

LOOKING: dict[str, type[Message]] = {
    "GetLock": service_pb2.GetLockRequest,
    "ListLocks": service_pb2.ListLocksRequest,
    "ListSessions": service_pb2.ListSessionsRequest,
}
OPERATING: dict[str, type[Message]] = {
    "ForceRelease": admin_pb2.ForceReleaseRequest,
    "EndSession": admin_pb2.EndSessionRequest,
}


class Failure(Exception):
    """Ends a call with a status: one of the protocol's reasons, or what gRPC itself has for a broken connection."""

    def __init__(self, code: grpc.StatusCode, details: bytes | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


def refusal(reason: ErrorReason, *, retryable: bool = False, settled: bool = True) -> Failure:
    """The error of a server, as a unary call has it."""
    details = status(reason, retryable=retryable, settled=settled).SerializeToString()
    return Failure(grpc.StatusCode.FAILED_PRECONDITION, details)


BROKEN = Failure(grpc.StatusCode.UNAVAILABLE)
"""The connection broke, whatever became of the call."""


class PlayedCall:
    """The server's end of one unary call."""

    def __init__(self, method: str, request: Message) -> None:
        self.method = method
        self.request = request
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()


class PlayedWatch:
    """The server's end of one watch."""

    def __init__(self, request: service_pb2.WatchLocksRequest, context: Context) -> None:
        self.request = request
        self._context = context
        self.left = asyncio.Event()
        """Set when the client has left the watch, or it has ended."""
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends it: with OK, or with a `Failure`."""

    async def show(self, revision: int, *locks: lock_pb2.Lock, complete: bool = True) -> None:
        """Send a snapshot, or part of one."""
        snapshot = service_pb2.WatchLocksResponse.Snapshot(locks=locks, complete=complete)
        await self._context.write(service_pb2.WatchLocksResponse(revision=revision, snapshot=snapshot))

    async def tell(self, revision: int, *changes: service_pb2.LockChange) -> None:
        """Send what a revision changed."""
        told = service_pb2.WatchLocksResponse.Changes(changes=changes)
        await self._context.write(service_pb2.WatchLocksResponse(revision=revision, changes=told))

    def fail(self, failure: Failure) -> None:
        """End it with an error."""
        self.end.set_exception(failure)


class ScriptedReads:
    """Hands every call to the test."""

    def __init__(self) -> None:
        self._calls: asyncio.Queue[PlayedCall] = asyncio.Queue()
        self._watches: asyncio.Queue[PlayedWatch] = asyncio.Queue()
        self.target = ""

    async def call(self, method: str) -> PlayedCall:
        """The call that was, or will be, made next; it must be of this method."""
        call = await self._calls.get()
        assert call.method == method, call.method
        return call

    async def watch(self) -> PlayedWatch:
        """The watch that was, or will be, begun next."""
        return await self._watches.get()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """What a gRPC server is to serve."""
        watching = grpc.unary_stream_rpc_method_handler(
            self._play, request_deserializer=service_pb2.WatchLocksRequest.FromString, response_serializer=_serialize
        )
        looking = {method: self._unary(method, kind) for method, kind in LOOKING.items()}
        operating = {method: self._unary(method, kind) for method, kind in OPERATING.items()}
        return (
            grpc.method_handlers_generic_handler("lockstream.v1.LockService", {**looking, "WatchLocks": watching}),
            grpc.method_handlers_generic_handler("lockstream.v1.AdminService", operating),
        )

    def _unary(self, method: str, kind: type[Message]) -> grpc.RpcMethodHandler[Message, Message]:
        async def answer(request: Message, context: Context) -> Message:
            call = PlayedCall(method, request)
            self._calls.put_nowait(call)
            try:
                return await call.answer
            except Failure as failure:
                await _abort(context, failure)
                raise

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=kind.FromString, response_serializer=_serialize
        )

    async def _play(self, request: service_pb2.WatchLocksRequest, context: Context) -> None:
        watch = PlayedWatch(request, context)
        self._watches.put_nowait(watch)
        try:
            await watch.end
        except Failure as failure:
            await _abort(context, failure)
        finally:
            watch.left.set()


@asynccontextmanager
async def scripted_reads() -> AsyncIterator[ScriptedReads]:
    """A server on a free port."""
    reads = ScriptedReads()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(reads.handlers())
    reads.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield reads
    finally:
        await server.stop(None)


async def _abort(context: Context, failure: Failure) -> None:
    details = () if failure.details is None else (("grpc-status-details-bin", failure.details),)
    await context.abort(failure.code, "scripted", details)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
