"""How a session stands with the server, by what its streams told and by the local clock.

The local deadline: the lease is proven until the moment a heartbeat (or open, or resume) was SENT
plus what the reply says remains. From the deadline on nothing is believed, not even a grant that
arrived before it and is read after it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lockstream._book import ASKED, QUEUED, Book, again
from lockstream._claims import Claim, ClaimState
from lockstream._durations import seconds
from lockstream._errors import LockstreamError, ServerUnavailable, SessionExpired, WaitTimeout, WrongState
from lockstream._reasons import LossNotice, LossReason

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from lockstream._link import Link
    from lockstream.v1 import session_pb2

HEARTBEATS_PER_TTL = 3

SETTLED = {"outcome_settled": "true"}
"""What is added to an error that this client came to by itself, before anybody was asked."""
UNSETTLED = {"outcome_settled": "false"}
"""Likewise, while etcd may still have the entry."""


class Standing(Book):
    """The claims of one session, and whether the server is known to know of them.

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
        super().__init__(new_future)
        self.leave = False
        self.deadline = math.inf
        self.ttl = math.inf
        self.grace = math.inf
        self.session_id = ""
        self.server = ""
        self.generation = 0
        self.in_jeopardy = False
        self._resume_token = ""
        self._opening = opening
        self._on_change = on_change
        self._trying: Link | None = None
        self._stray_resumes = 0
        """Greetings that may have an effect yet, though their streams are gone."""

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
            self._stray_resumes += not answered
            if self.link is None:
                self.detach(link.greeted_at)  # it may have been taken up, and broken, at any moment since

    def detach(self, since: float) -> None:
        """No stream speaks for the session since that moment.

        The server frees it when its grace is over, so nothing is believed for longer than that. Who only tries does not
        wait for another stream.
        """
        self.deadline = min(self.deadline, since + self.grace)
        self._leave_link()
        for claim in [claim for claim in self.claims.values() if claim.state is ASKED and claim.wait == 0]:
            self.give_up(claim, ServerUnavailable("the stream broke before the server answered", UNSETTLED))

    def _leave_link(self) -> None:
        self.link = None
        self._on_change()

    def drain(self) -> None:
        """The server is about to stop: another is to be found while this stream still works."""
        self.leave = True
        self._on_change()

    def supersede(self, error: LockstreamError, now: float) -> None:
        """Another stream resumed the session.

        If it may be one of our own, this one is merely left.
        """
        if self._trying is not None:
            self._leave_link()
        elif self._stray_resumes:
            # A server that was frozen when we tried it took the session up after we had gone
            # elsewhere, for a stream that is gone: its grace begins.
            self._stray_resumes -= 1
            self.detach(now)
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

    def out_of_jeopardy(self, now: float) -> None:
        """The lease is proven again at the server: ask for that proof, before the last one we have runs out."""
        self.in_jeopardy = False
        if self.link is not None and not self.link.heartbeat_open:
            self.link.heartbeat(now)

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
                    self.time_out(claim, settled=False)
        elif now >= self.link.heartbeat_at + self.heartbeat_interval:
            if self.link.heartbeat_open:
                self.detach(self.link.heartbeat_at)  # it may have broken at any moment since
            else:
                self.link.heartbeat(now)

    def time_out(self, claim: Claim, *, settled: bool) -> None:
        """A claim has waited for as long as its caller allowed. `settled` tells that its entry is known to be gone."""
        claim.until = None
        if claim.state is ASKED or claim.state is QUEUED:
            sentence = f"lock {claim.name!r} was not granted within {claim.wait:g} s"
            self.give_up(claim, WaitTimeout(sentence, None if settled else UNSETTLED))

    def expire(self, now: float) -> None:
        """End the session by the local clock when its deadline has passed."""
        if now >= self.deadline:
            # Nothing is believed any more, but etcd may have the entries for a while yet.
            error = SessionExpired("the lease was not proven to live before the local deadline", UNSETTLED)
            self.end(error, LossReason.UNPROVEN)

    def end(self, error: LockstreamError, reason: LossReason) -> None:
        """The session is over: every lock is lost, every waiter fails."""
        if self.ended is None:
            self.ended = error
            self.link = None
            self.end_claims(error, LossNotice(reason))
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

    def __repr__(self) -> str:
        standing = "ended" if self.ended else "detached" if self.link is None else "attached"
        counts = dict.fromkeys(ClaimState, 0)
        for claim in self.claims.values():
            counts[claim.state] += 1
        shown = "".join(f" {state.value}={count}" for state, count in counts.items() if count)
        return f"<Ledger {self.session_id or 'new'} {standing}{shown}>"
