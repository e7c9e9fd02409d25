"""A client on generated stubs alone, as docs/guarantees.md and the protos tell how to write one.

Nothing is shared with the Python library. The rules it keeps by itself: a proof counts from when the request for it was
SENT; past the deadline nothing is believed, whatever arrives; a broken stream leaves one grace at the most; after a
resume the server's list is right, and what was not answered is asked again under the same identifiers.
"""

import asyncio
import itertools
import math
import random
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress

from google.protobuf import duration_pb2

from lockstream.v1 import errors_pb2, lock_pb2, session_pb2
from tests.robustness.traffic.sessions import Ask, Refused
from tests.robustness.traffic.stub_claims import Claim, StubHold, acquire_request, duration, forget, say_wait
from tests.robustness.traffic.stub_stream import GREETING, StubStream, refused

RETRY_SECONDS = 0.1
OPEN_SECONDS = 10.0
ATTEMPT_SECONDS = 1.0
"""How long a server may take to answer a greeting before anything else is known."""
CLOSE_SECONDS = 3.0

FINAL = frozenset({"SESSION_EXPIRED", "BAD_RESUME_TOKEN", "INVALID_ARGUMENT", "WRONG_STATE"})
"""Answers to a greeting after which another attempt is of no use."""

ELSEWHERE = frozenset({"DRAINING", "SUPERSEDED"})
"""Answers that are none: this stream does not speak for the session, and another has to ask again."""


class StubSession:
    """One session over whatever streams it takes."""

    def __init__(self, targets: Sequence[str], rng: random.Random, *, ttl: float, grace: float | None) -> None:
        self._targets = itertools.cycle(rng.sample(targets, len(targets)))
        self._opening = session_pb2.Open(client_name="stubs", heartbeats=True, ttl=duration(ttl))
        if grace is not None:
            self._opening.detach_grace.CopyFrom(duration(grace))
        self._resume = session_pb2.Resume()
        self._deadline = math.inf
        self._ended: str | None = None
        self._greeted: asyncio.Future[None] | None = None
        self._stream: StubStream | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._claims: dict[int, Claim] = {}
        self._unanswered: dict[int, tuple[session_pb2.Request, asyncio.Future[session_pb2.Reply]]] = {}
        self._requests = itertools.count(GREETING + 1)
        self._acquires = itertools.count(1)
        self.ttl = math.inf
        self.grace = math.inf

    @property
    def id(self) -> str:
        """As `LockSession`."""
        return self._resume.session_id

    @property
    def deadline(self) -> float | None:
        """As `LockSession`."""
        return None if self._ended is not None else self._deadline

    # Its life.

    async def open(self) -> None:
        """As `LockSession`."""
        self._greeted = asyncio.get_running_loop().create_future()
        self._begin(self._keep())
        self._begin(self._expire())
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._greeted
        except BaseException as error:
            await self.abandon()
            if isinstance(error, TimeoutError):
                raise Refused("no server answered", settled=False) from None
            raise

    async def close(self) -> None:
        """As `LockSession`."""
        with suppress(TimeoutError, Refused):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.ask(session_pb2.Request(close=session_pb2.Close()))
        await self.abandon()

    async def abandon(self) -> None:
        """Leave without a word: the server sees a stream end, and keeps the session for its grace."""
        self._end("abandoned")
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self) -> None:
        """See that a stream speaks for the session until it ends."""
        while self._ended is None:
            greeting = session_pb2.Request(request_id=GREETING)
            if self.id:
                greeting.resume.CopyFrom(self._resume)
            else:
                greeting.open.CopyFrom(self._opening)
            stream = StubStream(next(self._targets), greeting, self._receive)
            await stream.run(lambda: self.ttl / 3 if self.id else ATTEMPT_SECONDS)
            if stream is self._stream:
                self._stream = None
                self._deadline = min(self._deadline, (stream.silent_since or time.monotonic()) + self.grace)
            await asyncio.sleep(RETRY_SECONDS)

    async def _expire(self) -> None:
        while self._ended is None:
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                self._end("UNPROVEN")
            await asyncio.sleep(min(max(remaining, 0), RETRY_SECONDS))

    def _end(self, reason: str) -> None:
        if self._ended is not None:
            return
        self._ended = reason
        for claim in [*self._claims.values()]:
            claim.lose(reason)
        for _, answer in self._unanswered.values():
            if not answer.done():
                answer.set_exception(Refused("SESSION_EXPIRED", settled=False))
        if self._stream is not None:
            self._stream.end()
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_exception(Refused(reason, settled=False))

    # What is asked.

    async def acquire(self, ask: Ask) -> StubHold:
        """As `LockSession`."""
        return StubHold(self, await self.claim(acquire_request(ask), ask.wait))

    async def claim(self, request: session_pb2.Request, wait: float | None) -> Claim:
        """Ask for something that is granted, now or later."""
        acquire = next(self._acquires)
        say_wait(request, acquire, wait)
        claim = self._claims[acquire] = Claim(request, acquire)
        try:
            self._answered(claim, await self.ask(request))
            await claim.granted
            self._check()  # it may have come in time and be looked at too late
        except BaseException as error:
            self._claims.pop(acquire, None)
            if self._ended is None and not (isinstance(error, Refused) and error.settled):
                self._begin(self._cancel(acquire))
            raise
        return claim

    async def release(self, claim: Claim) -> None:
        """Give a hold up."""
        self._claims.pop(claim.acquire, None)
        await self.repeat(session_pb2.Request(release=session_pb2.Release(acquire_id=claim.acquire, token=claim.token)))

    async def request_yield(self, name: str) -> None:
        """As `LockSession`."""
        for claim in [claim for claim in self._claims.values() if claim.queued and not claim.granted.done()]:
            if claim.request.acquire.name == name:
                await self.ask(session_pb2.Request(request_yield=session_pb2.RequestYield(acquire_id=claim.acquire)))

    async def repeat(self, request: session_pb2.Request) -> None:
        """Ask for what is safe to ask again, until the outcome is known."""
        while True:
            try:
                await self.ask(request)
            except Refused as error:
                if error.settled or self._ended is not None:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def ask(self, request: session_pb2.Request) -> session_pb2.Reply:
        """The reply to a request, over as many streams as it takes. Raises Refused for an error."""
        reply = await self._send(request)
        if reply.HasField("error"):
            raise refused(reply.error)
        return reply

    async def _cancel(self, acquire: int) -> None:
        with suppress(Refused):
            await self.repeat(session_pb2.Request(cancel=session_pb2.Cancel(acquire_id=acquire)))

    def _send(self, request: session_pb2.Request) -> asyncio.Future[session_pb2.Reply]:
        self._check()
        sent = session_pb2.Request()
        sent.CopyFrom(request)
        sent.request_id = next(self._requests)
        answer: asyncio.Future[session_pb2.Reply] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(forget)
        self._unanswered[sent.request_id] = sent, answer
        if self._stream is not None:
            self._stream.send(sent)
        return answer

    def _check(self) -> None:
        """Refuse when the session is over, by the server's word or by the clock."""
        if self._ended is None and time.monotonic() >= self._deadline:
            self._end("UNPROVEN")
        if self._ended is not None:
            raise Refused("SESSION_EXPIRED", settled=False)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What is heard.

    def _receive(self, stream: StubStream, response: session_pb2.Response) -> None:
        if self._ended is None and time.monotonic() >= self._deadline:
            self._end("UNPROVEN")
        if self._ended is not None:
            return
        if response.HasField("event"):
            self._event(stream, response.event)
        elif response.reply.request_id == GREETING:
            self._greeting(stream, response.reply)
        elif response.reply.HasField("proof"):
            stream.heard()
            self._deadline = max(self._deadline, stream.sent_at + seconds(response.reply.proof.remaining))
        else:
            self._reply(stream, response.reply)

    def _greeting(self, stream: StubStream, reply: session_pb2.Reply) -> None:
        if reply.HasField("error"):
            error = refused(reply.error)
            if error.reason in FINAL:
                self._end(error.reason)
            stream.end()
            return
        attached = reply.attached
        proven_until = stream.sent_at + seconds(attached.remaining)
        stream.attached = True
        self._stream = stream
        if self.id:
            self._deadline = max(self._deadline, proven_until)
            self._settle(stream, attached.claims)
        else:
            self._resume = session_pb2.Resume(session_id=attached.session_id, resume_token=attached.resume_token)
            self.ttl, self.grace = seconds(attached.ttl), seconds(attached.detach_grace)
            self._deadline = proven_until
            if self._greeted is not None and not self._greeted.done():
                self._greeted.set_result(None)

    def _settle(self, stream: StubStream, there: Iterable[session_pb2.Claim]) -> None:
        """After a resume: believe the server's list, and ask again for what was not answered."""
        unanswered = [request for request, _ in self._unanswered.values()]
        for request in unanswered:
            stream.send(request)
        listed = {claim.acquire_id: claim for claim in there}
        for acquire, claim in [*self._claims.items()]:
            entry = listed.pop(acquire, None)
            holds = entry is not None and entry.state == lock_pb2.ENTRY_STATE_HELD
            if claim.held and (entry is None or not holds or entry.token != claim.token):
                claim.lose("gone after a resume")
            elif claim.queued and entry is None:
                claim.fail(Refused("gone after a resume", settled=False))
            elif claim.queued and entry is not None and holds:
                claim.grant(entry.token)
            elif claim.queued:
                self._begin(self._ask_again(claim))  # its wait counts anew from here
        leaving = {request.cancel.acquire_id or request.release.acquire_id for request in unanswered}
        for acquire in listed.keys() - leaving:
            self._begin(self._cancel(acquire))

    async def _ask_again(self, claim: Claim) -> None:
        try:
            self._answered(claim, await self.ask(claim.request))
        except Refused as error:
            claim.fail(error)

    def _answered(self, claim: Claim, reply: session_pb2.Reply) -> None:
        claim.queued = not reply.HasField("granted")
        if reply.HasField("granted"):
            claim.grant(reply.granted.token)

    def _reply(self, stream: StubStream, reply: session_pb2.Reply) -> None:
        reason = refused(reply.error).reason if reply.HasField("error") else ""
        if reason in ELSEWHERE:
            stream.end()
            return
        _, answer = self._unanswered.pop(reply.request_id, (None, None))
        if reason == "SESSION_EXPIRED":
            self._end(reason)
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def _event(self, stream: StubStream, event: session_pb2.Event) -> None:
        match event.WhichOneof("event"):
            case "granted":
                if (claim := self._claims.get(event.granted.acquire_id)) is not None:
                    claim.grant(event.granted.token)
            case "wait_ended":
                error = refused(event.wait_ended.error)
                claim = self._claims.get(event.wait_ended.acquire_id)
                if claim is not None and error.reason not in ELSEWHERE:
                    claim.fail(error)
            case "lost":
                reason = errors_pb2.LossReason.Name(event.lost.reason).removeprefix("LOSS_REASON_")
                claim = self._claims.get(event.lost.acquire_id)
                if claim is not None and claim.token == event.lost.token and reason not in ELSEWHERE:
                    claim.lose(reason)
            case "yield_requested":
                if (claim := self._claims.get(event.yield_requested.acquire_id)) is not None:
                    claim.yield_requested = True
            case "safe":
                stream.prove()
            case "draining":
                stream.end()
            case "session_ended":
                if refused(event.session_ended.error).reason in ELSEWHERE:
                    stream.end()  # by an attempt of ours that was given up, or so the next resume will tell
                else:
                    self._end("SESSION_EXPIRED")
            case _:
                pass  # nothing that changes what is held


def seconds(duration: duration_pb2.Duration) -> float:
    """A duration of the protocol."""
    return duration.seconds + duration.nanos / 1e9
