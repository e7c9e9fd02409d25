"""Somebody who says whatever comes to mind to a server, and holds it to the protocol in all that it answers."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from lockstream.v1 import admin_pb2, admin_pb2_grpc, session_pb2
from lockstream_server.core.errors import Reason
from tests.fuzzing.protocol import check_error, check_failure
from tests.fuzzing.requests import OTHERS_SESSION, OWN_SESSION, SECRET, filled_in

PATIENCE = 5.0
"""Seconds within which every request is answered, also on a busy machine."""

_SESSION = "/lockstream.v1.LockService/Session"


@dataclass(frozen=True)
class Say:
    """Send a frame, its placeholders filled in."""

    frame: session_pb2.SessionRequest


@dataclass(frozen=True)
class Babble:
    """Send bytes as a frame."""

    data: bytes


@dataclass(frozen=True)
class Listen:
    """Read until everything asked so far is answered."""


@dataclass(frozen=True)
class Leave:
    """End the stream and begin another: `politely` sends no more and reads to the end, otherwise it just breaks."""

    politely: bool


Step: TypeAlias = Say | Babble | Listen | Leave


class Stream:
    """One stream, and what it owes."""

    def __init__(self, talker: "Talker", channel: grpc.aio.Channel) -> None:
        self._talker = talker
        call: Any = channel.stream_stream(_SESSION)
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] = call()
        self._asked: Counter[int] = Counter()
        self._answered: Counter[int] = Counter()
        self._queued: Counter[int] = Counter()
        self._events = 0
        self._broken = False
        """Whether something was sent that cannot be read, which ends it."""
        self._closing = False
        """Whether it was asked to end."""
        self._finished = False
        """Whether nothing more will be sent."""
        self._over = False
        """Whether it was told that it ends."""
        self._progress = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self._reading.done()

    async def send(self, data: bytes) -> None:
        """Send bytes, and expect what follows from them."""
        try:
            for request in session_pb2.SessionRequest.FromString(data).requests:
                self._asked[request.request_id] += 1
                self._closing = self._closing or request.HasField("close")
        except DecodeError:
            self._broken = True
        try:
            await self._call.write(data)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):  # it has ended, which the reader judges
            await self._reading

    async def listen(self) -> None:
        """Wait until every request is answered, or the stream has ended as it should."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not self._reading.done() and (self._broken or self._answered != self._asked):
                    self._progress.clear()
                    progress = asyncio.ensure_future(self._progress.wait())
                    await asyncio.wait((progress, self._reading), return_when=asyncio.FIRST_COMPLETED)
                    progress.cancel()
        except TimeoutError:
            owed = "an end" if self._broken else f"answers to {self._asked - self._answered}"
            raise AssertionError(f"the server owes {owed}") from None
        if self._reading.done():
            self._reading.result()

    async def finish(self) -> None:
        """Send no more; read to the end."""
        self._finished = True
        await self._call.done_writing()
        async with asyncio.timeout(PATIENCE):
            await self._reading

    async def cut(self) -> None:
        """Break it; what it was told so far was right."""
        self._call.cancel()
        await self._reading

    async def _read(self) -> None:
        try:
            while isinstance(data := await self._call.read(), bytes):
                for response in session_pb2.SessionResponse.FromString(data).responses:
                    self._take(response)
                self._progress.set()
        except asyncio.CancelledError:
            pass  # by `cut`
        except grpc.aio.AioRpcError as failure:
            self._judge(failure)
        else:
            assert self._over or self._finished, "the stream ended, and nobody said so"

    def _judge(self, failure: grpc.aio.AioRpcError) -> None:
        """The stream failed: it was to, and as documented."""
        assert self._broken or self._closing, f"it ended for nothing: {failure!r}"
        if not _is_our_own(failure):
            assert check_failure(failure) is Reason.INVALID_ARGUMENT, failure
            assert self._broken, failure

    def _take(self, response: session_pb2.Response) -> None:
        assert not self._over or response.HasField("reply"), f"after the end: {response}"
        match response.WhichOneof("kind"):
            case "reply":
                self._take_reply(response.reply)
            case "event":
                self._take_event(response.event)
            case None:
                raise AssertionError("an empty response")

    def _take_reply(self, reply: session_pb2.Reply) -> None:
        self._answered[reply.request_id] += 1
        assert self._answered[reply.request_id] <= self._asked[reply.request_id], f"answered too often: {reply}"
        outcome = reply.WhichOneof("outcome")
        self._talker.heard[f"reply {outcome}"] += 1
        match outcome:
            case None:
                raise AssertionError(f"no outcome: {reply}")
            case "error":
                self._talker.heard[check_error(reply.error).name] += 1
            case "attached":
                self._talker.attached(reply.attached)
                for claim in reply.attached.claims:
                    self._queued[claim.acquire_id] += 1
            case "granted":
                self._talker.tokens[reply.granted.acquire_id] = reply.granted.token
            case "queued":
                self._queued[reply.queued.acquire_id] += 1
            case "closed":
                self._over = True
            case _:
                pass

    def _take_event(self, event: session_pb2.Event) -> None:
        self._events += 1
        assert event.sequence == self._events, "a gap"
        happening = event.WhichOneof("event")
        self._talker.heard[f"event {happening}"] += 1
        match happening:
            case None:
                raise AssertionError(f"no event: {event}")
            case "granted":
                self._no_longer_queued(event.granted.acquire_id)
                self._talker.tokens[event.granted.acquire_id] = event.granted.token
            case "wait_ended":
                self._no_longer_queued(event.wait_ended.acquire_id)
                check_error(event.wait_ended.error)
            case "session_ended":
                check_error(event.session_ended.error)
                self._over = True
            case _:
                pass

    def _no_longer_queued(self, acquire_id: int) -> None:
        self._queued[acquire_id] -= 1
        assert self._queued[acquire_id] >= 0, f"acquire {acquire_id} did not wait"


def _is_our_own(failure: grpc.aio.AioRpcError) -> bool:
    """Whether gRPC at this end made the status up, because the stream ended while a frame was being written."""
    return failure.code() is grpc.StatusCode.INTERNAL and (failure.debug_error_string() or "").startswith(
        'Failed "exec'
    )


class Talker:
    """One stream after the other, and the sessions that were opened on them."""

    def __init__(self, target: str, others_session: str) -> None:
        self.tokens: dict[int, int] = {}
        """Of the acquires that were granted."""
        self.heard: Counter[str] = Counter()
        """How often it was told what."""
        self._channel = grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        self._texts = {OWN_SESSION: "", SECRET: "", OTHERS_SESSION: others_session}
        self._sessions: set[str] = set()
        self._stream = Stream(self, self._channel)

    def attached(self, attached: session_pb2.Attached) -> None:
        """A stream has a session."""
        self._sessions.add(attached.session_id)
        self._texts[OWN_SESSION] = attached.session_id
        self._texts[SECRET] = attached.resume_token or self._texts[SECRET]
        for claim in attached.claims:
            self.tokens[claim.acquire_id] = claim.token

    async def tell(self, *steps: Step) -> None:
        """Do all of this, and in the end hear what the server has to say to it."""
        for step in steps:
            if self._stream.ended:
                self._stream = Stream(self, self._channel)
            match step:
                case Say(frame):
                    filled = session_pb2.SessionRequest.FromString(frame.SerializeToString())
                    filled_in(filled, self._texts, lambda acquire: self.tokens.get(acquire, 0))
                    await self._stream.send(filled.SerializeToString())
                case Babble(data):
                    await self._stream.send(data)
                case Listen():
                    await self._stream.listen()
                case Leave(politely):
                    await (self._stream.finish() if politely else self._stream.cut())
                    self._stream = Stream(self, self._channel)
        await self._stream.listen()

    async def disappear(self) -> None:
        """Cut the stream, and have every session ended that it ever had."""
        await self._stream.cut()
        admin: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._channel)
        for session in sorted(self._sessions):
            request = admin_pb2.EndSessionRequest(session_id=session, reason="it was fuzzed", actor="the test")
            try:
                await admin.EndSession(request, timeout=PATIENCE)
            except grpc.aio.AioRpcError as failure:
                check_failure(failure)  # it has ended before
        await self._channel.close()


async def tell(target: str, others_session: str, *steps: Step) -> Counter[str]:
    """Have a talker say all of this to a server. Returns how often it was told what."""
    talker = Talker(target, others_session)
    try:
        await talker.tell(*steps)
    finally:
        await talker.disappear()
    return talker.heard
