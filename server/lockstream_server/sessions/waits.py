"""From the proposal of an acquire to its grant.

What becomes of it is told from two sides, in any order: the outcome of its own proposal, and the fold. An uncontended
acquire is answered by whichever is first; each step below therefore tolerates that the other was faster.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from lockstream_server.core import deadlock
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.messages import NO_WAIT, Granted, PositionChanged, Queued
from lockstream_server.core.model import Entry, Mode
from lockstream_server.core.rules import refusal
from lockstream_server.sessions import refusals
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.claim_book import ClaimBook
from lockstream_server.sessions.endings import Endings
from lockstream_server.sessions.holds import Holds
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.store.port import Attachment, Outcome, PutEntries, PutEntry, Verdict


class Waits:
    """Steps on claims of one attachment that await their grant."""

    __slots__ = ("_attachment", "_book", "_endings", "_holds", "_host", "_outbox", "_proven")

    def __init__(
        self,
        host: Host,
        attachment: Attachment,
        outbox: Outbox,
        book: ClaimBook,
        holds: Holds,
        endings: Endings,
        proven: Callable[[], bool],
    ) -> None:
        """`proven` is whether the lease is proven now; without that no grant is told."""
        self._host = host
        self._attachment = attachment
        self._outbox = outbox
        self._book = book
        self._holds = holds
        self._endings = endings
        self._proven = proven

    # The proposal, and what the store answers.

    def propose(self, claim: Claim) -> None:
        """Propose its entries to the store. Raises LockError."""
        only_if_free = claim.wait == NO_WAIT and all(part.record.mode is Mode.EXCLUSIVE for part in claim.parts)
        if len(claim.parts) == 1:
            [(name, slot, record)] = claim.parts
            self._host.store.propose(
                PutEntry(self._attachment, name, slot, record, only_if_free), partial(self._put, claim)
            )
        else:
            self._host.store.propose(PutEntries(self._attachment, claim.parts, only_if_free), partial(self._put, claim))

    def _put(self, claim: Claim, outcome: Outcome) -> None:
        """The outcome of the proposal."""
        match outcome.verdict:
            case Verdict.GRANTED | Verdict.QUEUED | Verdict.EXISTS if claim.state is State.LEAVING and not claim.token:
                claim.token = outcome.revision
                self._endings.delete(claim)
            case Verdict.GRANTED | Verdict.QUEUED:
                self._written(claim, outcome)
            case Verdict.WOULD_BLOCK:
                self._endings.refuse(claim, claim.why or refusals.would_block(claim))
            case Verdict.EXISTS:
                claim.token = claim.token or outcome.revision
                self._host.milestones.when_folded(outcome.revision, partial(self._look, claim))
            case Verdict.FAILED | Verdict.NO_SPACE:
                self._not_taken(claim, refusals.by_store(outcome.verdict))
            case _:
                pass  # REFUSED, UNKNOWN: the session is over, as the fold or the clock will tell

    def _written(self, claim: Claim, outcome: Outcome) -> None:
        """Its entries were written; of several, or of one behind others, the fold tells what they are worth."""
        if claim.granted:
            return  # the fold was faster
        if claim.state is State.PROPOSED and self._host.table.revision >= outcome.revision:
            # The table was read anew since, and the claim was gone again by then.
            claim.token = outcome.revision
            self._endings.vanish(claim, None)
        elif outcome.verdict is Verdict.GRANTED:
            claim.pending = 0
            self._grant(claim, outcome.revision)
        else:
            claim.token = claim.token or outcome.revision

    def _not_taken(self, claim: Claim, why: LockError) -> None:
        """The store did not take this attempt; it may have taken an earlier one, whose answer was lost.

        If the fold has shown that, the claim goes on from there. If it is yet to show it, the entry will be
        nobody's, and be deleted.
        """
        own = self._own(claim)
        if not own:
            self._endings.refuse(claim, why)
        elif claim.state is State.LEAVING and not claim.token:
            claim.token = own[0].token
            self._endings.delete(claim)
        elif claim.state is State.PROPOSED and len(own) < len(claim.parts):
            self._lost_parts(claim, own[0].token)

    def _look(self, claim: Claim) -> None:
        """There was such an entry: see what the table says of it."""
        if claim.state is not State.PROPOSED:
            return
        own = self._own(claim)
        if not own:
            # A late attempt of the acquire that had the slot before. It is being deleted, and then this one fits.
            claim.token = 0
            try:
                self.propose(claim)
            except LockError as error:
                self._endings.refuse(claim, error)
        elif len(own) < len(claim.parts):
            self._lost_parts(claim, own[0].token)
        else:
            for entry in own:
                if entry.granted:
                    self.granted(claim, entry)
                else:
                    self.queued(claim, entry)

    def _own(self, claim: Claim) -> list[Entry]:
        """What the table shows of its entries."""
        there = [entry for part in claim.parts if (entry := self._book.entry(part))]
        return [entry for entry in there if entry.record.acquire == claim.acquire and claim.has(entry)]

    def _lost_parts(self, claim: Claim, token: int) -> None:
        """Some of its entries were deleted before the table showed them: the claim is lost as a whole."""
        claim.token = token
        self._endings.vanish(claim, None)

    # What the fold shows.

    def granted(self, claim: Claim, entry: Entry) -> None:
        """One of its entries holds its lock."""
        if len(claim.parts) > 1:
            if claim.state not in (State.PROPOSED, State.WAITING):
                return
            claim.pending -= 1
            if claim.pending > 0:
                return
        self._grant(claim, entry.token)

    def queued(self, claim: Claim, entry: Entry) -> None:
        """One of its entries is new and has to wait."""
        if claim.state not in (State.PROPOSED, State.WAITING):
            return
        why = self._refusal(entry)
        if why is None and claim.wait == NO_WAIT:
            why = refusals.would_block(claim)
        if why is None:
            why = self._deadlock(entry)
        if why is not None:
            self._endings.leave(claim, why)
            return
        if claim.state is State.WAITING:
            return  # another of its parts has told so
        claim.state = State.WAITING
        claim.token = entry.token
        claim.position = self._book.position(claim)
        self._host.counters.queued += 1
        self._tell(claim, Queued(claim.acquire, claim.position))
        self.arm(claim)

    def moved(self, claim: Claim, position: int) -> None:
        """It may have moved up to this place in a queue, without being granted."""
        if len(claim.parts) > 1:
            position = self._book.position(claim)
        if position != claim.position:
            claim.position = position
            self._outbox.push(PositionChanged(claim.acquire, position))

    def refuse_hopeless(self, claim: Claim) -> None:
        """End the wait if it came to nothing while nobody looked after it."""
        waiting = [self._book.entry(part) for part in claim.parts] if claim.state is State.WAITING else []
        for waiter in waiting:
            if waiter is not None and not waiter.granted:
                why = self._refusal(waiter) or self._deadlock(waiter)
                if why is not None:
                    self._endings.leave(claim, why)

    def _refusal(self, entry: Entry) -> LockError | None:
        """Why an entry cannot be granted at all, or must not wait, behind those before it."""
        if entry.record.mode not in (Mode.PERMITS, Mode.UPGRADE):
            return None
        refused = refusal(self._host.table.locks[entry.name].before(entry), entry)
        return refusals.refused(entry, *refused) if refused is not None else None

    def _deadlock(self, entry: Entry) -> LockError | None:
        """The cycle that an entry closed by waiting, if it did."""
        cycle = deadlock.find(self._host.table, entry)
        if cycle and (leaving := self._book.leaving()):  # what is being released keeps nobody waiting
            cycle = deadlock.find(self._host.table, entry, leaving)
        return refusals.deadlocked(cycle) if cycle else None

    # The grant.

    def _grant(self, claim: Claim, token: int) -> None:
        """Everything it asked for is granted. Tell so, unless it is on its way out or nothing is certain any more."""
        if claim.granted:
            return
        claim.granted = True
        if claim.state is State.LEAVING and not claim.token:
            return  # the outcome of its proposal is still to come, and tells what to delete
        claim.token = token
        if claim.state not in (State.PROPOSED, State.WAITING) or not self._proven():
            return
        claim.state = State.HELD
        claim.stop_timer()
        self._host.counters.grants += 1
        self._tell(claim, Granted(claim.acquire, claim.token))
        self._holds.limit(claim)

    def _tell(self, claim: Claim, outcome: Granted | Queued) -> None:
        """Tell a grant or a place: as the reply while there is none, as an event afterwards."""
        if claim.request is not None:
            self._outbox.reply(claim.request, outcome)
            claim.request = None
        elif isinstance(outcome, Granted):
            self._outbox.push(outcome)

    # The end of the client's patience.

    def arm(self, claim: Claim) -> None:
        """Start the wait's timer, if it has an end."""
        claim.stop_timer()
        if claim.deadline is not None:
            claim.timer = asyncio.get_running_loop().call_at(claim.deadline, self._time_out, claim)

    def _time_out(self, claim: Claim) -> None:
        if claim.state is State.WAITING:
            self._endings.leave(claim, LockError(Reason.WAIT_TIMEOUT, f"not granted within {claim.wait:g} s"))
