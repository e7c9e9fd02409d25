"""What a session asked for, what it was told, and what follows.

All of it is decided here, with no I/O and no waiting.

The ledger is told of the caller's wishes, of what the server said (`lockstream._frames` reads that
to it) and of the time. It answers by resolving the futures of claims and by writing requests to the
link, the outgoing side of the stream that is attached. Without a link (detached) it only notes;
`lockstream._snapshot` sends what is due after a resume.

The local deadline: the lease is proven until the moment a heartbeat (or open, or resume) was SENT
plus what the reply says remains. From the deadline on nothing is believed, not even a grant that
arrived before it and is read after it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lockstream._claims import Claim, ClaimState
from lockstream._errors import (
    LockLost,
    LockstreamError,
    NotHeld,
    SessionExpired,
    WaitTimeout,
    WrongState,
)
from lockstream._reasons import LossReason

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from google.protobuf import duration_pb2

    from lockstream._link import Link
    from lockstream.v1 import session_pb2

HEARTBEATS_PER_TTL = 3

ASKED = ClaimState.ASKED
QUEUED = ClaimState.QUEUED
HELD = ClaimState.HELD
RELEASING = ClaimState.RELEASING
LEAVING = ClaimState.LEAVING
ENDED = ClaimState.ENDED


class Ledger:
    """The claims of one session and its standing with the server.

    `on_change` is called when the owner of the ledger has something to do: the stream is to be left
    (`leave` is set), was given up (`link` is None), or the session is over (`ended` is set).
    """

    def __init__(
        self,
        opening: session_pb2.Open,
        *,
        new_future: Callable[[], Future[None]],
        on_change: Callable[[], None],
    ) -> None:
        self.claims: dict[int, Claim] = {}
        self.leaving: dict[tuple[str, str], Claim] = {}
        """Claims nobody waits for any more but the server may still have, by name and owner."""
        self.unsettled: list[Claim] = []
        """Releases and cancels that the server could not do: sent again with the next proof."""
        self.link: Link | None = None
        self.leave = False
        self.ended: LockstreamError | None = None
        self.closing: Future[None] | None = None
        self.deadline = math.inf
        self.ttl = math.inf
        self.grace = math.inf
        self.session_id = ""
        self.server = ""
        self.generation = 0
        self.in_jeopardy = False
        self._resume_token = ""
        self._opening = opening
        self._new_future = new_future
        self._on_change = on_change
        self._last_acquire_id = 0
        self._trying: Link | None = None
        self._stray_resume = False

    # What the caller wants.

    def acquire(self, name: str, owner: str, now: float, *, shared: bool, wait: float | None) -> Claim:
        """Ask for a lock. The claim's `answer` is its grant. Raises what ended the session."""
        if self.ended is not None or now >= self.deadline or not self.session_id:
            self.expire(now)
            raise self.end_error()
        self._last_acquire_id += 1
        claim = Claim(
            self._last_acquire_id,
            name,
            owner,
            self._new_future(),
            shared=shared,
            wait=wait,
            until=now + wait if wait else None,
        )
        self.claims[claim.acquire_id] = claim
        if self.link is not None:
            self.link.acquire(claim, now)
        return claim

    def confirm(self, claim: Claim, now: float) -> None:
        """Raise unless a claim that was granted is held still, at the moment it is handed out."""
        self.expire(now)
        if claim.state is not HELD:
            raise claim.failure or self.end_error()

    def release(self, claim: Claim, now: float) -> Future[None]:
        """Give up a held claim.

        The future is the reply. LockLost or NotHeld when there is none to give up.
        """
        if now >= self.deadline:
            self.expire(now)
        if claim.state is not HELD:
            if claim.loss is not None:
                raise LockLost(claim.name, claim.token, claim.loss)
            raise NotHeld(f"lock {claim.name!r} was released already")
        claim.state = RELEASING
        claim.answer = self._new_future()
        if self.link is not None:
            self.link.release(claim)
        return claim.answer

    def abandon(self, claim: Claim) -> None:
        """Nobody waits for this claim's answer any more: the server is to keep nothing of it."""
        if claim.state is ENDED or claim.abandoned:
            return
        claim.abandoned = True
        claim.answer = self._new_future()
        self.leaving[claim.name, claim.owner] = claim
        if claim.state is not RELEASING:
            claim.state = LEAVING
            if self.link is not None:
                self.link.cancel(claim.acquire_id)

    def close(self) -> Future[None]:
        """End the session. From here on nothing is held. The future is the server's reply."""
        if self.ended is not None:
            raise self.end_error()
        self.closing = self._new_future()
        if self.link is not None:
            self.link.close()
        self.ended = WrongState("the session is closed")
        self._end_claims(SessionExpired("the session was closed"), LossReason.LEASE_EXPIRED)
        return self.closing

    def closed(self) -> None:
        """The server has closed the session, or nobody can ask it to any more."""
        if self.closing is not None and not self.closing.done():
            self.closing.set_result(None)

    # What becomes of a claim.

    def grant(self, acquire_id: int, token: int) -> None:
        """The server granted an acquire. One that nobody here wants is withdrawn."""
        claim = self.claims.get(acquire_id)
        if claim is None:
            if self.link is not None:
                self.link.cancel(acquire_id)
        elif claim.state is ASKED or claim.state is QUEUED:
            claim.state = HELD
            claim.token = token
            claim.resolve()

    def queue(self, claim: Claim, position: int) -> None:
        """The acquire waits for its turn."""
        if claim.state is ASKED or claim.state is QUEUED:
            claim.state = QUEUED
            claim.position = position
            if claim.on_wait is not None:
                claim.on_wait(position)

    def finish(self, claim: Claim) -> None:
        """The server has nothing of this claim any more, as its caller wished."""
        self._forget(claim)
        claim.resolve()

    def fail(self, claim: Claim, error: LockstreamError) -> None:
        """The server has nothing of this claim, and its caller did not wish so."""
        self._forget(claim)
        claim.fail(error)

    def give_up(self, claim: Claim, error: LockstreamError) -> None:
        """Tell the caller at once that the acquire failed, and withdraw what may be left of it."""
        claim.fail(error)
        self.abandon(claim)

    def lose(self, claim: Claim, reason: LossReason) -> None:
        """A claim that was granted is held no longer, and not because it was given up."""
        was_held = claim.state is HELD
        self._forget(claim)
        claim.loss = reason
        claim.fail(LockLost(claim.name, claim.token, reason))
        if was_held and claim.on_lost is not None:
            claim.on_lost(reason)

    def _forget(self, claim: Claim) -> None:
        claim.state = ENDED
        self.claims.pop(claim.acquire_id, None)
        key = (claim.name, claim.owner)
        if claim.abandoned and self.leaving.get(key) is claim:
            del self.leaving[key]

    # What becomes of the stream.

    def greet(self, link: Link, now: float) -> None:
        """A stream is being tried: open or resume on it."""
        if self.session_id:
            self._trying = link
            link.resume(self.session_id, self._resume_token, now)
        else:
            link.open(self._opening, now)

    def attach(self, link: Link, attached: session_pb2.Attached) -> None:
        """The greeting was answered: this stream speaks for the session from now on."""
        self.link = link
        self.leave = self.in_jeopardy = False
        self._trying = None
        self.unsettled.clear()
        self.server = attached.server
        self.generation = attached.generation
        proven_until = link.greeted_at + seconds(attached.remaining)
        if self.session_id:
            self.deadline = max(self.deadline, proven_until)
        else:
            self.session_id = attached.session_id
            self._resume_token = attached.resume_token
            self.ttl = seconds(attached.ttl)
            self.grace = seconds(attached.detach_grace)
            self.deadline = proven_until
        if not link.attached.done():
            link.attached.set_result(None)

    def drop(self, link: Link, now: float, *, answered: bool) -> None:
        """A stream ended or is given up.

        `answered` is false when its greeting may have an effect yet.
        """
        if link is self.link:
            self.detach(now)
        elif link is self._trying:
            self._trying = None
            self._stray_resume = self._stray_resume or not answered

    def detach(self, since: float) -> None:
        """No stream speaks for the session since that moment.

        The server frees it when its grace is over, so nothing is believed for longer than that.
        """
        self.deadline = min(self.deadline, since + self.grace)
        self._leave_link()

    def _leave_link(self) -> None:
        self.link = None
        self._on_change()

    def drain(self) -> None:
        """The server is about to stop: another is to be found while this stream still works."""
        self.leave = True
        self._on_change()

    def supersede(self, error: LockstreamError) -> None:
        """Another stream resumed the session.

        If it may be one of our own, this one is merely left.
        """
        if self._trying is not None:
            self._leave_link()
        elif self._stray_resume:
            # A server that was frozen when we tried it took the session up after we had gone
            # elsewhere.
            self._stray_resume = False
            self._leave_link()
        else:
            self.end(error, LossReason.SUPERSEDED)

    def prove(self, remaining: float) -> None:
        """The last heartbeat was answered."""
        link = self.link
        if link is None or not link.heartbeat_open:
            return
        link.heartbeat_open = False
        self.deadline = max(self.deadline, link.heartbeat_at + remaining)
        unsettled, self.unsettled = self.unsettled, []
        for claim in unsettled:
            self.send_again(claim, link)

    def send_again(self, claim: Claim, link: Link) -> None:
        """Repeat the release or the cancel of a claim."""
        if claim.state is RELEASING:
            link.release(claim)
        elif claim.state is LEAVING:
            link.cancel(claim.acquire_id)

    # What time does.

    def due(self) -> float:
        """The moment at which `tick` is to be called next, at the latest."""
        if self.link is not None:
            return min(self.deadline, self.link.heartbeat_at + self.heartbeat_interval)
        overdue_at = (c.until for c in self.claims.values() if c.until is not None)
        return min(self.deadline, min(overdue_at, default=math.inf))

    def tick(self, now: float) -> None:
        """Expire the session, show that we live, leave a silent stream, end waits that are over."""
        self.expire(now)
        if self.ended is not None:
            return
        if self.link is None:
            # The server ends the waits, but it cannot tell us. What it did is settled by the
            # resume.
            for claim in list(self.claims.values()):
                if claim.until is not None and claim.until <= now:
                    self.time_out(claim)
        elif now >= self.link.heartbeat_at + self.heartbeat_interval:
            if self.link.heartbeat_open:
                self.detach(self.link.heartbeat_at)  # it may have broken at any moment since
            else:
                self.link.heartbeat(now)

    def time_out(self, claim: Claim) -> None:
        """A claim has waited for as long as its caller allowed."""
        claim.until = None
        if claim.state is ASKED or claim.state is QUEUED:
            sentence = f"lock {claim.name!r} was not granted within {claim.wait:g} s"
            self.give_up(claim, WaitTimeout(sentence))

    def expire(self, now: float) -> None:
        """End the session by the local clock when its deadline has passed."""
        if now >= self.deadline:
            error = SessionExpired("the lease was not proven to live before the local deadline")
            self.end(error, LossReason.UNPROVEN)

    def end(self, error: LockstreamError, reason: LossReason) -> None:
        """The session is over: every lock is lost, every waiter fails."""
        if self.ended is None:
            self.ended = error
            self.link = None
            self._end_claims(error, reason)
            self._on_change()

    def end_error(self) -> LockstreamError:
        """What ended the session, to be raised once more."""
        return again(self.ended or WrongState("the session is not open"))

    @property
    def over(self) -> bool:
        """Whether nothing more is to be said to a server."""
        return self.ended is not None and (self.closing is None or self.closing.done())

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats, and how long the reply to one may take."""
        return self.ttl / HEARTBEATS_PER_TTL

    def _end_claims(self, error: LockstreamError, reason: LossReason) -> None:
        for claim in list(self.claims.values()):
            if claim.state is HELD:
                self.lose(claim, reason)
            elif claim.state is RELEASING and self.closing is not None:
                self.finish(claim)
            else:
                self.fail(claim, again(error))

    def __repr__(self) -> str:
        standing = "ended" if self.ended else "detached" if self.link is None else "attached"
        counts = dict.fromkeys(ClaimState, 0)
        for claim in self.claims.values():
            counts[claim.state] += 1
        shown = "".join(f" {state.value}={count}" for state, count in counts.items() if count)
        return f"<Ledger {self.session_id or 'new'} {standing}{shown}>"


def again(error: LockstreamError) -> LockstreamError:
    """A copy to raise: one exception raised in many tasks would gather all their tracebacks."""
    return type(error)(str(error), error.metadata)


def seconds(duration: duration_pb2.Duration) -> float:
    """A protobuf duration as seconds."""
    return duration.seconds + duration.nanos / 1e9
