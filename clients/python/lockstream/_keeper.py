"""Sees that a stream speaks for a session: opens it, keeps it alive, moves it, closes it.

All that is decided is decided by the ledger; here are the connections, the tasks and the timer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from lockstream import _frames
from lockstream._clock import Clock
from lockstream._errors import (
    BadResumeToken,
    InvalidArgument,
    LockstreamError,
    ServerUnavailable,
    SessionExpired,
    Superseded,
    WrongState,
)
from lockstream._ledger import Ledger
from lockstream._link import Link
from lockstream._reasons import LossReason
from lockstream._stream import Stream

if TYPE_CHECKING:
    from lockstream._channels import Channels
    from lockstream._claims import Claim
    from lockstream._options import Options
    from lockstream.v1 import session_pb2

CLOSE_TIMEOUT = 3.0
"""Seconds that closing waits for the server.

Without an answer the session ends by itself after its TTL.
"""

FINAL_ERRORS = (SessionExpired, Superseded, BadResumeToken, InvalidArgument, WrongState)
"""Answers to a resume after which another attempt is of no use."""

_log = logging.getLogger("lockstream")


class Keeper:
    """The connection side of one session, on the event loop in which it is made."""

    def __init__(self, channels: Channels, opening: session_pb2.Open, options: Options) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = Clock(self.loop)
        self.ledger = Ledger(opening, new_future=self.loop.create_future, on_change=self._on_change)
        self._channels = channels
        self._options = options
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._stream: Stream | None = None
        self._trying: Link | None = None
        self._opening = False
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Open the session at one of the endpoints. Raises what the last attempt within the connect timeout raised.

        One that was opened all the same, such as at the moment of a cancellation, is closed again.
        """
        if self._opening or self.ledger.session_id:
            raise WrongState("the session was opened already")
        self._opening = True
        try:
            self._stream = await self._first_stream()
        except BaseException:
            if self.ledger.session_id and self.ledger.ended is None:
                self._close()
            raise
        finally:
            self._opening = False
            if self.ledger.session_id:
                self._task = self.loop.create_task(self._keep(), name="lockstream session")
                self.arm()

    async def _first_stream(self) -> Stream:
        deadline = self.loop.time() + self._options.connect_timeout
        share = self._options.connect_timeout / len(self._channels)
        backoff = self._options.backoff()
        answer: LockstreamError | None = None
        while True:
            if self.ledger.ended is not None:
                raise self.ledger.end_error()
            try:
                return await self._try(min(share, deadline - self.loop.time()))
            except LockstreamError as error:
                if not error.retryable:
                    raise
                answer = error if error.reason is not None else answer
                pause = backoff.next()
                if self.loop.time() + pause >= deadline:
                    # What a server said tells more than that none said anything in the time that was left.
                    raise (answer or error) from None
                await self._pause(pause)

    async def close(self) -> None:
        """End the session: every lock and queue place is free on return, unless no server could do that in time.

        It goes on when whoever waits for it is cancelled. A second close is WrongState.
        """
        if not self.ledger.session_id:
            raise WrongState("the session is not open")
        over = self.ledger.ended is not None
        await self.end()
        if over:
            raise self.ledger.end_error()

    def _close(self) -> None:
        answer = self.ledger.close()
        self._closing.set()
        self._changed.set()
        self._ending = self.loop.create_task(self._closed(answer), name="lockstream close")

    async def _closed(self, answer: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await answer
        except TimeoutError:
            self._unheard("no server answered")
        except LockstreamError as error:
            self._unheard(error)
        finally:
            await self._stop()

    async def end(self) -> None:
        """Leave nothing behind, however the session stands: one that is being opened is not opened any more.

        It goes on when whoever waits for it is cancelled.
        """
        ledger = self.ledger
        if ledger.session_id and ledger.ended is None:
            self._close()
        if self._ending is None:
            ledger.end(WrongState("the session was closed before it was open"), LossReason.LEASE_EXPIRED)
            self._closing.set()
            if self._trying is not None and not self._trying.attached.done():
                self._trying.attached.set_exception(ledger.end_error())
            self._ending = self.loop.create_task(self._stop(), name="lockstream close")
        await asyncio.shield(self._ending)

    async def granted(self, claim: Claim) -> None:
        """Wait for the grant of a claim. A caller who is cancelled, or gets an error, leaves nothing behind."""
        ledger = self.ledger
        if claim.until is not None and ledger.link is None:
            self.arm()
        try:
            await claim.answer
            ledger.confirm(claim, self.clock.time())
        except BaseException:
            ledger.abandon(claim)
            raise

    async def _keep(self) -> None:
        """See that a stream speaks for the session, until it ends."""
        ledger = self.ledger
        while True:
            await self._changed.wait()
            self._changed.clear()
            if ledger.over:
                return
            if ledger.link is None or ledger.leave:
                await self._move()

    async def _move(self) -> None:
        """Resume at the next endpoint that lets us.

        A stream that still works does so until then. Closing ends the pauses between attempts; each endpoint is then
        tried once more, for the session to be closed there.
        """
        ledger, old = self.ledger, self._stream
        if old is not None:
            leave = self._channels.failed if ledger.leave else self._channels.silent
            leave(old.channel)
        backoff = self._options.backoff()
        farewells = 0
        while True:
            ledger.expire(self.clock.time())  # the machine may have slept through the deadline
            if ledger.over:
                return
            farewell = self._closing.is_set()
            try:
                limit = min(ledger.heartbeat_interval, ledger.deadline - self.clock.time())
                self._stream = await self._try(limit)
            except FINAL_ERRORS as error:
                superseded = isinstance(error, Superseded)
                ledger.end(error, LossReason.SUPERSEDED if superseded else LossReason.LEASE_EXPIRED)
                ledger.closed()
                return
            except LockstreamError as error:
                _log.info("session %s: %s", self.ledger.session_id, error)
                if farewell:
                    if ledger.link is not None:
                        return  # the stream that was to be left answers the close
                    farewells += 1
                    if farewells == len(self._channels):
                        self._unheard(error)
                        ledger.closed()
                        return
                await self._pause(backoff.next())
            else:
                break
        if old is not None:
            old.close()
        self.arm()

    async def _try(self, limit: float) -> Stream:
        """Open or resume at the endpoint whose turn it is, within `limit` seconds."""
        channel = self._channels.current()
        link = self._trying = Link(self.loop.create_future())
        self.ledger.greet(link, self.clock.time())
        stream = Stream(channel, link, self._receive, self._stream_ended)
        try:
            async with asyncio.timeout(limit):
                await link.attached
        except TimeoutError:
            self._abort(stream, answered=False)
            self._channels.silent(channel)
            raise ServerUnavailable(f"{channel.endpoint} did not answer in time") from None
        except BaseException as error:
            answered = isinstance(error, LockstreamError) and error.reason is not None
            self._abort(stream, answered=answered)
            self._channels.failed(channel)
            raise
        return stream

    def _abort(self, stream: Stream, *, answered: bool) -> None:
        self.ledger.drop(stream.link, self.clock.time(), answered=answered)
        stream.close()

    async def _pause(self, seconds: float) -> None:
        """Let that much time pass until the next attempt, or less when the session is closed meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _unheard(self, why: object) -> None:
        _log.warning("session %s was not closed, and ends by its TTL: %s", self.ledger.session_id, why)

    def _receive(self, link: Link, frame: session_pb2.SessionResponse) -> None:
        _frames.read(self.ledger, link, frame, self.clock.time())

    def _stream_ended(self, stream: Stream) -> None:
        self._channels.left(stream.channel)
        attached = stream.link.attached
        if not attached.done():
            error = stream.error or ServerUnavailable("the server ended the stream")
            attached.set_exception(error)
        elif not stream.closed:
            self.ledger.drop(stream.link, self.clock.time(), answered=True)

    def _on_change(self) -> None:
        self._changed.set()
        if self.ledger.ended is not None and self.ledger.closing is None:
            self._disarm()
            if self._task is not None:
                self._task.cancel()
            if self._stream is not None:
                self._stream.close()
        else:
            self.arm()

    def arm(self) -> None:
        """Set the timer for what is due next."""
        self._disarm()
        due = self.ledger.due()
        if self.ledger.ended is None and due < math.inf:
            self._timer = self.loop.call_at(self.clock.timer(due), self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.ledger.tick(self.clock.time())
        self.arm()

    async def _stop(self) -> None:
        """Leave the stream and end the tasks."""
        self._disarm()
        task, stream = self._task, self._stream
        if stream is not None:
            stream.close()
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        if stream is not None:
            await stream.wait_closed()
            self._stream = None
