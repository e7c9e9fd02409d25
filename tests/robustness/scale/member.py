"""One session of a crowd: one stream at a time, one lock, one task."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from lockstream.v1 import lock_pb2, session_pb2
from tests.robustness.scale.tally import Tally
from tests.support.wire import reason

BEGIN, ACQUIRE, HEARTBEAT = 1, 2, 3
"""The request ids. Of the first two, one is under way at most; of heartbeats it does not matter which is answered."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
"""Between attempts to attach: twice as long from one to the next, jittered over the upper half."""
BEAT = session_pb2.SessionRequest(
    requests=[session_pb2.Request(request_id=HEARTBEAT, heartbeat=session_pb2.Heartbeat())]
)
GONE = frozenset({"SESSION_EXPIRED", "BAD_RESUME_TOKEN"})
"""Refusals of a resume after which there is nothing to resume."""


class SessionLost(Exception):
    """The session or its lock is gone; the argument is why."""


class Member:
    """A session that holds one lock, and resumes whenever its stream breaks.

    It stays with its server, over crashes and restarts, until that says that it drains.

    Args:
        name: of its lock.
        stubs: of each server.
        ttl: of the session, in seconds.
        tally: where it writes down what happens to it.
    """

    def __init__(self, name: str, stubs: Sequence[Any], ttl: int, tally: Tally) -> None:
        self._name = name
        self._stubs = stubs
        self._ttl = ttl
        self._tally = tally
        self._server = 0
        self._call: Any = None
        self._session = session_pb2.Attached()
        self._token = 0
        self._attached = False
        self._endangered = False

    async def run(self) -> None:
        """Attach, again and again, until the session is lost; then return."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                why = await self._attend()
            except SessionLost as loss:
                self._tally.lose(str(loss))
                return
            finally:
                was_attached = self._leave()
            if was_attached:
                pause = FIRST_PAUSE_SECONDS
            else:
                self._tally.refuse(why)
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def beat(self) -> None:
        """Ask for how long the lease is proven, if there is a stream; the answer goes to the tally."""
        if self._attached:
            # The stream may have ended just now, as `run` finds out; grpc says so in three ways.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
                await self._call.write(BEAT)

    async def _attend(self) -> str:
        """One stream, until it ends or is of no more use; why. Raises SessionLost."""
        self._call = self._stubs[self._server].Session()
        try:
            await self._call.write(session_pb2.SessionRequest(requests=[self._beginning()]))
            while isinstance(frame := await self._call.read(), session_pb2.SessionResponse):
                for response in frame.responses:
                    why = await self._take(response.reply) if response.HasField("reply") else self._hear(response.event)
                    if why:
                        return why
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # how it ended is asked below
        return f"{(await self._call.code()).name}: {await self._call.details()}"

    def _leave(self) -> bool:
        """Be without a stream; whether the session was attached."""
        self._call.cancel()
        self._danger(False)
        was_attached, self._attached = self._attached, False
        self._tally.attached -= was_attached
        return was_attached

    def _beginning(self) -> session_pb2.Request:
        request = session_pb2.Request(request_id=BEGIN)
        if self._session.session_id:
            request.resume.session_id = self._session.session_id
            request.resume.resume_token = self._session.resume_token
        else:
            request.open.client_name = "crowd"
            request.open.ttl.FromSeconds(self._ttl)
        return request

    async def _take(self, reply: session_pb2.Reply) -> str:
        """Take in a reply; why the stream is of no more use, if it is not. Raises SessionLost."""
        match reply.WhichOneof("outcome"):
            case "attached":
                await self._greeted(reply.attached)
            case "granted":
                self._holds(reply.granted.token)
            case "proof":
                self._tally.prove(_seconds(reply.proof.remaining))
            case "error":
                why = reason(reply.error)
                if self._session.session_id and why in GONE:
                    raise SessionLost(why)
                if why == "DRAINING":
                    self._move_on()
                return why
            case other:
                raise AssertionError(f"nobody asked for {other}")
        return ""

    async def _greeted(self, attached: session_pb2.Attached) -> None:
        self._tally.prove(_seconds(attached.remaining))
        if not self._session.session_id:
            self._session = attached
        held = [claim.token for claim in attached.claims if claim.state == lock_pb2.ENTRY_STATE_HELD]
        if held:
            self._holds(*held)
        elif self._token:
            raise SessionLost("it was resumed without its lock")
        else:
            acquire = session_pb2.Acquire(acquire_id=ACQUIRE, name=self._name, owner="member")
            request = session_pb2.Request(request_id=ACQUIRE, acquire=acquire)
            await self._call.write(session_pb2.SessionRequest(requests=[request]))

    def _holds(self, token: int) -> None:
        if self._token not in {0, token}:
            raise SessionLost("its lock was taken anew")
        self._token = token
        self._attached = True
        self._tally.attach()

    def _hear(self, event: session_pb2.Event) -> str:
        """Take in an event; why the stream is of no more use, if it is not. Raises SessionLost."""
        kind = event.WhichOneof("event")
        match kind:
            case "jeopardy":
                self._danger(True)
                self._tally.prove(_seconds(event.jeopardy.remaining))
            case "safe":
                self._danger(False)
            case "draining":
                self._move_on()
                return kind
            case _:
                raise SessionLost(str(event))
        return ""

    def _danger(self, endangered: bool) -> None:
        self._tally.endangered += endangered - self._endangered
        self._tally.dangers += endangered
        self._endangered = endangered

    def _move_on(self) -> None:
        self._server = (self._server + 1) % len(self._stubs)


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
