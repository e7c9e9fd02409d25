"""A server that says whatever comes to mind to a client, without a network and in virtual time."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc

from lockstream._channels import Channel, Channels
from lockstream.v1 import lock_pb2, service_pb2_grpc, session_pb2

SESSION_ID = "00000000000000a1"
MOMENT = 0.001
"""Seconds in which the client says what it has to say."""


@dataclass(frozen=True)
class Answer:
    """Send a frame."""

    frame: session_pb2.SessionResponse


@dataclass(frozen=True)
class Comply:
    """Do what the client asks for, as a server should; for `open` and `resume` the session has these claims."""

    claims: tuple[session_pb2.Claim, ...] = ()


@dataclass(frozen=True)
class Pause:
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True)
class End:
    """End the stream: with a status, or None for OK."""

    failure: grpc.aio.AioRpcError | None


Step: TypeAlias = Answer | Comply | Pause | End

DEAD = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "nobody listens")


class PlayedCall:
    """Both ends of one stream; for the client, a `grpc.aio.StreamStreamCall`."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[Any] = asyncio.Queue()
        self.requests: deque[session_pb2.Request] = deque()
        """Those that nobody has complied with."""
        self._left = False

    async def read(self) -> Any:
        """The next frame, or EOF. Raises AioRpcError when the server ended it so."""
        frame = await self.frames.get()
        if isinstance(frame, grpc.aio.AioRpcError):
            raise frame
        return frame

    async def write(self, frame: session_pb2.SessionRequest) -> None:
        """The client says something. Raises InvalidStateError when it has left."""
        if self._left:
            raise asyncio.InvalidStateError
        self.requests.extend(frame.requests)
        await asyncio.sleep(0)

    def cancel(self) -> None:
        """The client leaves."""
        self._left = True


class PlayedServer(Channel):
    """Goes through its steps with whatever stream there is, and then is dead. To the client it is its channel."""

    def __init__(self, steps: list[Step]) -> None:
        self.endpoint = "played"
        self.streams = 0
        self.granted: set[tuple[int, int]] = set()
        """Each acquire that the client was told to have been granted, with its token."""
        self._steps = deque(steps)
        self._call: PlayedCall | None = None
        self._came = asyncio.Event()
        self.stub = cast("service_pb2_grpc.LockServiceAsyncStub", self)

    def Session(self) -> PlayedCall:  # noqa: N802 - gRPC's name
        """Begin a stream."""
        self._call = PlayedCall()
        if self._steps:
            self._came.set()
        else:
            self._call.frames.put_nowait(DEAD)
        return self._call

    async def play(self) -> None:
        """Do all steps, each with the stream that there is."""
        while self._steps:
            await self._came.wait()
            await self._take(self._steps.popleft())
        if self._call is not None:
            self._call.frames.put_nowait(DEAD)

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _take(self, step: Step) -> None:
        assert self._call is not None
        match step:
            case Answer(frame):
                self._send(frame)
            case Comply(claims):
                await asyncio.sleep(MOMENT)
                while self._call.requests:
                    reply = complied(self._call.requests.popleft(), claims)
                    self._send(session_pb2.SessionResponse(responses=[session_pb2.Response(reply=reply)]))
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case End(failure):
                self._came.clear()
                self._call.frames.put_nowait(failure or grpc.aio.EOF)

    def _send(self, frame: session_pb2.SessionResponse) -> None:
        for response in frame.responses:
            for granted in (response.reply.granted, response.event.granted):
                self.granted.add((granted.acquire_id, granted.token))
            for claim in response.reply.attached.claims:
                if claim.state == lock_pb2.ENTRY_STATE_HELD:
                    self.granted.add((claim.acquire_id, claim.token))
        assert self._call is not None
        self._call.frames.put_nowait(frame)


def complied(request: session_pb2.Request, claims: Sequence[session_pb2.Claim]) -> session_pb2.Reply:
    """The answer to a request that succeeds."""
    reply = session_pb2.Reply(request_id=request.request_id)
    match request.WhichOneof("action"):
        case "open" | "resume":
            reply.attached.session_id, reply.attached.resume_token = SESSION_ID, "secret"
            reply.attached.claims.extend(claims)
            for duration in (reply.attached.ttl, reply.attached.detach_grace, reply.attached.remaining):
                duration.FromSeconds(10)
        case "acquire" | "acquire_all" | "upgrade" as action:
            reply.granted.acquire_id, reply.granted.token = getattr(request, action).acquire_id, 7
        case "heartbeat":
            reply.proof.remaining.FromSeconds(10)
        case str() as action:
            getattr(reply, DONE[action]).SetInParent()
        case None:
            raise AssertionError("the client asks for nothing")
    return reply


DONE = {
    "release": "released",
    "cancel": "cancelled",
    "downgrade": "downgraded",
    "set_value": "value_set",
    "request_yield": "yield_asked",
    "close": "closed",
}


class PlayedChannels(Channels):
    """The only way from a client to its only server."""

    def __init__(self, server: PlayedServer) -> None:
        super().__init__(["played"], None)
        self._server = server

    def current(self) -> Channel:
        """That server."""
        return self._server
