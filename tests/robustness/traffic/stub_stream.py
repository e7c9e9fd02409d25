"""One Session stream on generated stubs: a writer, a reader, and a heartbeat every third of the TTL."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from lockstream.v1 import service_pb2_grpc, session_pb2
from tests.robustness.traffic.sessions import Refused

HEARTBEAT = 1
"""The request id of heartbeats; those of other requests are larger."""

GREETING = 2


def refused(status: status_pb2.Status) -> Refused:
    """What the server said no with."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return Refused(info.reason, settled=info.metadata.get("outcome_settled") == "true")
    return Refused(f"status {status.code}", settled=False)


class StubStream:
    """A stream to one server. `run` it; it returns when the stream has ended, for whatever reason.

    Args:
        target: `host:port`.
        greeting: the first request.
        receive: called with each message, in order.
    """

    def __init__(
        self,
        target: str,
        greeting: session_pb2.Request,
        receive: Callable[["StubStream", session_pb2.Response], None],
    ) -> None:
        self._target = target
        self._receive = receive
        self._outgoing = [greeting]
        self._ready = asyncio.Event()
        self._ready.set()
        self._ended = asyncio.Event()
        self._heartbeat_open = False
        self.attached = False
        """Whether the greeting was answered."""
        self.sent_at = time.monotonic()
        """When the greeting or the newest heartbeat was sent, at the latest."""
        self._proven = asyncio.Event()

    def send(self, request: session_pb2.Request) -> None:
        """Send a request soon."""
        self._outgoing.append(request)
        self._ready.set()

    def end(self) -> None:
        """Leave the stream."""
        self._ended.set()

    def heard(self) -> None:
        """The newest heartbeat was answered."""
        self._heartbeat_open = False

    def prove(self) -> None:
        """There is a new proof to be had: ask for it now."""
        self._proven.set()

    @property
    def silent_since(self) -> float | None:
        """When the heartbeat was sent that was not answered, if there is one."""
        return self.sent_at if self._heartbeat_open else None

    async def run(self, interval: Callable[[], float]) -> None:
        """Speak until the stream breaks, falls silent or is left. `interval` is that of the heartbeats, in seconds."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._target, options=options) as channel:
            stub: service_pb2_grpc.LockServiceAsyncStub = service_pb2_grpc.LockServiceStub(channel)
            call = stub.Session()
            parts = [
                asyncio.ensure_future(part)
                for part in (self._read(call), self._write(call), self._beat(interval), self._ended.wait())
            ]
            try:
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for part in parts:
                    part.cancel()
                call.cancel()
                await asyncio.gather(*parts, return_exceptions=True)

    async def _read(self, call: Any) -> None:
        with suppress(grpc.aio.AioRpcError):
            while isinstance(frame := await call.read(), session_pb2.SessionResponse):
                for response in frame.responses:
                    self._receive(self, response)

    async def _write(self, call: Any) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it broke; the reader sees the end
            while True:
                await self._ready.wait()
                self._ready.clear()
                requests, self._outgoing = self._outgoing, []
                await call.write(session_pb2.SessionRequest(requests=requests))

    async def _beat(self, interval: Callable[[], float]) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._proven.wait(), interval())
            hurried = self._proven.is_set()
            self._proven.clear()
            if self._heartbeat_open and hurried:
                continue
            if self._heartbeat_open or not self.attached:
                return  # silence: nobody is there
            self._heartbeat_open = True
            self.sent_at = time.monotonic()
            self.send(session_pb2.Request(request_id=HEARTBEAT, heartbeat=session_pb2.Heartbeat()))
