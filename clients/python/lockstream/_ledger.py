"""What a session asked for, what it was told, and what follows.

All of it is decided here, with no I/O and no waiting.

The ledger is told of the caller's wishes (here), of what the server said (`lockstream._frames` reads that
to it) and of the time (`lockstream._standing`). It answers by resolving the futures of claims
(`lockstream._book`) and by writing requests to the link, the outgoing side of the stream that is attached.
Without a link (detached) it only notes; `lockstream._snapshot` sends what is due after a resume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream._asks import ask_upgrade, say_yield
from lockstream._book import HELD, QUEUED, RELEASING
from lockstream._claims import Claim
from lockstream._errors import NotHeld, ServerUnavailable, SessionExpired, WrongState
from lockstream._reasons import LossNotice, LossReason
from lockstream._standing import SETTLED, Standing

if TYPE_CHECKING:
    from asyncio import Future

    from lockstream._asks import Ask
    from lockstream._errors import LockstreamError
    from lockstream._hold import Hold
    from lockstream.v1 import session_pb2


class Ledger(Standing):
    """What the callers of one session want: each wish is noted, and said to the server if it can hear."""

    def acquire(self, ask: Ask, now: float, *, wait: float | None, since: float | None = None) -> Claim:
        """Ask for a lock. The claim's `answer` is its grant. The wait counts from `since`; `now` unless stated.

        Raises what ended the session, and ServerUnavailable as `check_try`.
        """
        if self.ended is not None or now >= self.deadline or not self.session_id:
            self.expire(now)
            raise self.end_error()
        self.check_try(wait)
        self.last_acquire_id += 1
        claim = Claim(
            self.last_acquire_id,
            ask,
            self._new_future(),
            wait=wait,
            until=(now if since is None else since) + wait if wait else None,
        )
        if self.link is not None:
            self.link.acquire(claim, now)
        self.claims[claim.acquire_id] = claim
        return claim

    def check_try(self, wait: float | None) -> None:
        """ServerUnavailable for what is not to wait at all, when no stream leads to a server."""
        if wait == 0 and self.link is None:
            raise ServerUnavailable("no server can be asked at the moment", SETTLED)

    def confirm(self, claim: Claim, now: float) -> None:
        """Make a granted claim the one that counts of its lock, at the moment it is handed out.

        Raises unless it is held still.
        """
        self.expire(now)
        if claim.state is not HELD:
            raise claim.failure or (claim.hold.error() if self.ended is None else self.end_error())
        claim.hold.top = claim

    def prepare_upgrade(self, hold: Hold, now: float) -> None:
        """Give up what a lock stands on that was upgraded and downgraded before: an upgrade has one shared hold.

        WrongState when the lock is exclusive, or being upgraded.
        """
        self._check(hold, now)
        if not hold.top.shared:
            raise WrongState(f"lock {hold.top.name!r} is not shared")
        if hold.claims[-1] is not hold.top:
            raise WrongState(f"lock {hold.top.name!r} is being upgraded already")
        for claim in hold.claims[:-1]:
            self._release(claim)
            self.abandon(claim)

    def upgrade(self, hold: Hold, now: float, *, wait: float | None, since: float | None = None) -> Claim:
        """Ask for a shared hold to become exclusive; it stands meanwhile. Else as `acquire`."""
        self.prepare_upgrade(hold, now)
        claim = self.acquire(ask_upgrade(hold.top), now, wait=wait, since=since)
        claim.join(hold)
        return claim

    def change(self, hold: Hold, request: session_pb2.Request, now: float) -> Future[None]:
        """Change something about a lock that is held. The future is the reply."""
        self._check(hold, now)
        return self._change(hold.top, request)

    def request_yield(self, claim: Claim) -> Future[None]:
        """Ask for what a claim waits for. The future is the reply."""
        return self._change(claim, say_yield(claim))

    def waiting_for(self, name: str) -> list[Claim]:
        """The claims that are in the queue of this name."""
        return [claim for claim in self.claims.values() if claim.state is QUEUED and name in claim.names]

    def release(self, hold: Hold, now: float) -> Future[None]:
        """Give up a lock that is held, all its claims in one frame, and an upgrade that waits.

        The future is the last reply. LockLost or NotHeld when there is none to give up.
        """
        self._check(hold, now)
        answer = self._new_future()
        for claim in reversed(hold.claims[:]):
            if claim.state is HELD:
                self._release(claim)
                claim.answer = answer
            else:
                self.give_up(claim, NotHeld(f"lock {claim.name!r} was released"))
        return answer

    def forsake(self, hold: Hold) -> None:
        """Nobody waits for the release of this lock any more: it takes place nevertheless."""
        for claim in tuple(hold.claims):
            self.abandon(claim)

    def close(self) -> Future[None]:
        """End the session. From here on nothing is held. The future is the server's reply."""
        if self.ended is not None:
            raise self.end_error()
        self.closing = self._new_future()
        if self.link is not None:
            self.link.close()
        self.ended = WrongState("the session is closed")
        self.end_claims(SessionExpired("the session was closed"), LossNotice(LossReason.LEASE_EXPIRED))
        return self.closing

    def closed(self, error: LockstreamError | None = None) -> None:
        """The server has closed the session, or could not because of this, or nobody can ask it to any more."""
        if self.closing is None or self.closing.done():
            return
        if error is None:
            self.closing.set_result(None)
        else:
            self.closing.set_exception(error)

    def _check(self, hold: Hold, now: float) -> None:
        if now >= self.deadline:
            self.expire(now)
        if hold.top.state is not HELD:
            raise hold.error()

    def _change(self, claim: Claim, request: session_pb2.Request) -> Future[None]:
        change = self.changes.add(claim, request, self._new_future())
        if self.link is not None:
            self.link.change(change)
        return change.answer

    def _release(self, claim: Claim) -> None:
        claim.state = RELEASING
        if self.link is not None:
            self.link.release(claim)
