"""The claims of a session: what was asked for, and what became of it.

Decided with no I/O and no waiting: futures of claims are resolved, and requests written to the link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream._changes import Changes
from lockstream._claims import Claim, ClaimState, Departures
from lockstream._errors import LockstreamError
from lockstream._reasons import LossNotice

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from lockstream._link import Link

ASKED = ClaimState.ASKED
QUEUED = ClaimState.QUEUED
HELD = ClaimState.HELD
RELEASING = ClaimState.RELEASING
LEAVING = ClaimState.LEAVING
ENDED = ClaimState.ENDED


class Book:
    """The claims of one session, and the link by which the server is told of them."""

    def __init__(self, new_future: Callable[[], Future[None]]) -> None:
        self.claims: dict[int, Claim] = {}
        self.departures = Departures()
        self.changes = Changes()
        self.unsettled: list[Claim] = []
        """Releases and cancels that the server could not do: sent again with the next proof."""
        self.link: Link | None = None
        self.ended: LockstreamError | None = None
        self.closing: Future[None] | None = None
        self.last_acquire_id = 0
        self._new_future = new_future

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
        """The acquire waits for its turn, at this place."""
        if claim.state is ASKED or claim.state is QUEUED:
            claim.state = QUEUED
            if position != claim.position:
                claim.position = position
                if claim.on_wait is not None:
                    claim.on_wait(position)

    def finish(self, claim: Claim) -> None:
        """The server has nothing of this claim any more, as its caller wished.

        A lock of two claims is released once both are gone.
        """
        self._forget(claim)
        rest = claim.hold.claims
        if not rest or all(other.answer is not claim.answer for other in rest):
            claim.resolve()

    def fail(self, claim: Claim, error: LockstreamError) -> None:
        """The server has nothing of this claim, and its caller did not wish so."""
        self._forget(claim)
        claim.fail(error)

    def end_wait(self, claim: Claim, error: LockstreamError) -> None:
        """The claim has come to an end at the server.

        A repeated request for it that is still under way then asks for it anew, and so is taken back.
        """
        if claim.unanswered:
            self.give_up(claim, error)
        else:
            self.fail(claim, error)

    def give_up(self, claim: Claim, error: LockstreamError) -> None:
        """Tell the caller at once that the claim failed, and withdraw what may be left of it."""
        claim.fail(error)
        self.abandon(claim)

    def lose(self, claim: Claim, notice: LossNotice) -> None:
        """A claim that was granted is held no longer, and not because it was given up.

        The lock is lost with it: what else it consists of is withdrawn.
        """
        hold = claim.hold
        was_held = hold.top.state is HELD
        hold.loss = notice
        for each in hold.claims:
            self.changes.forget(each)
        self.end_wait(claim, hold.lock_lost(notice))
        for other in tuple(hold.claims):
            self.give_up(other, hold.lock_lost(notice))
        if was_held:
            hold.tell(notice.reason)

    def abandon(self, claim: Claim) -> None:
        """Nobody waits for this claim's answer any more: the server is to keep nothing of it."""
        if claim.state is ENDED or claim.abandoned:
            return
        claim.abandoned = True
        claim.answer = self._new_future()
        claim.part()
        self.departures.add(claim)
        if claim.state is not RELEASING:
            claim.state = LEAVING
            if self.link is not None and self.ended is None:
                self.link.cancel(claim.acquire_id)

    def send_again(self, claim: Claim, link: Link) -> None:
        """Repeat the release or the cancel of a claim."""
        if claim.state is RELEASING:
            link.release(claim)
        elif claim.state is LEAVING:
            link.cancel(claim.acquire_id)

    def end_claims(self, error: LockstreamError, notice: LossNotice) -> None:
        """The session is over: every lock is lost, every waiter fails."""
        for claim in list(self.claims.values()):
            claim.unanswered = False  # and never will be
            if claim.state is HELD:
                self.lose(claim, notice)
            elif claim.state is RELEASING and self.closing is not None:
                self.finish(claim)
            else:
                self.fail(claim, again(error))

    def _forget(self, claim: Claim) -> None:
        claim.state = ENDED
        self.claims.pop(claim.acquire_id, None)
        claim.hold.claims.remove(claim)
        self.changes.forget(claim)
        if claim.abandoned:
            self.departures.remove(claim)


def again(error: LockstreamError) -> LockstreamError:
    """A copy to raise: one exception raised in many tasks would gather all their tracebacks."""
    return type(error)(str(error), error.metadata)
