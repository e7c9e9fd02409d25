"""How a claim ends: its client releases or cancels it, its wait comes to nothing, it is lost, or its session is over.

Whoever asked for the end is answered when the entries are gone, which the outcome of their deletion and the fold both
tell, in any order. Whoever still awaits the grant is told why there will be none; whoever holds, that the hold is lost.
"""

import asyncio
import logging
from functools import partial

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.messages import Cancelled, LossReason, Lost, Released, WaitEnded
from lockstream_server.core.model import Entry, EvictionRecord
from lockstream_server.sessions import refusals
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.claim_book import ClaimBook
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.outcomes import RETRY_SECONDS
from lockstream_server.store.keys import slot_of
from lockstream_server.store.port import Attachment, DeleteEntry, Outcome, Part, Verdict

log = logging.getLogger(__name__)


class Endings:
    """Steps on claims of one attachment that leave, or are gone."""

    __slots__ = ("_attachment", "_book", "_host", "_outbox")

    def __init__(self, host: Host, attachment: Attachment, outbox: Outbox, book: ClaimBook) -> None:
        self._host = host
        self._attachment = attachment
        self._outbox = outbox
        self._book = book

    # Leaving, as it is wanted here.

    def leave(self, claim: Claim, why: LockError | None, leaver: tuple[int, bool] | None = None) -> None:
        """Propose the deletion of the entries, unless that is under way already.

        `why` is told to a client that still awaits the grant; `leaver` is the request to be answered once the claim
        has left, and whether it is a cancel. Raises LockError (QUOTA_EXCEEDED) for a request too many.
        """
        if leaver is not None:
            if claim.leavers is None:
                claim.leavers = []
            refusals.check_awaiting(claim, len(claim.leavers))
            claim.leavers.append(leaver)
        if claim.state is State.LEAVING:
            return
        # Only somebody who was not granted yet is told why the wait ended.
        claim.why = None if claim.state is State.HELD else why
        claim.state = State.LEAVING
        claim.stop_timer()
        self._book.disown(claim)
        if claim.token:
            self.delete(claim)

    def delete(self, claim: Claim) -> None:
        """Propose the deletion of the entries of a claim that leaves, by their token.

        Without one a deletion that is repeated, and whose first attempt lands late, would hit whatever has the slot by
        then. So a claim whose proposal has no outcome yet is deleted when it has one.
        """
        claim.pending = len(claim.parts)
        for part in claim.parts:
            self._delete(claim, part)

    def drop(self, claim: Claim) -> None:
        """Delete what is left of a claim, of which nobody is to be told anything more."""
        claim.state = State.HELD
        claim.granted = False
        self.leave(claim, None)

    def _delete(self, claim: Claim, part: Part) -> None:
        self._host.store.propose(
            DeleteEntry(self._attachment, part.name, part.slot, claim.token), partial(self._deleted, claim, part)
        )

    def _deleted(self, claim: Claim, part: Part, outcome: Outcome) -> None:
        """The outcome of the deletion of one entry."""
        match outcome.verdict:
            case Verdict.DELETED | Verdict.ABSENT:
                claim.left_at = max(claim.left_at, outcome.revision)
                claim.pending -= 1
                if claim.pending > 0:
                    return
                self.finish(claim)
                if self._host.table.revision >= claim.left_at:
                    self._book.forget(claim)
                elif outcome.verdict is Verdict.ABSENT or len(claim.parts) > 1:
                    # Nothing more may come of it; but what the fold has yet to show may still be its own.
                    self._host.milestones.when_folded(claim.left_at, partial(self._book.forget, claim))
            case Verdict.FAILED if claim.state is State.LEAVING:
                # Such as for want of permissions, which an operator has to mend: until then the entry excludes others.
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._delete_again, claim, part)
            case _:
                pass  # REFUSED, UNKNOWN: the session is over, as the fold or the clock will tell

    def _delete_again(self, claim: Claim, part: Part) -> None:
        if claim.state is State.LEAVING:
            self._delete(claim, part)

    def discard(self, entry: Entry) -> None:
        """Delete an entry that is no claim's."""
        self._host.store.propose(
            DeleteEntry(self._attachment, entry.name, slot_of(entry.key), entry.token), partial(self._discarded, entry)
        )

    def _discarded(self, entry: Entry, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.FAILED and self._attachment.live:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.discard, entry)

    # Gone.

    def refuse(self, claim: Claim, why: LockError) -> None:
        """Nothing of it was written, and nothing will be: tell why, and forget it."""
        claim.why = why
        self.finish(claim)
        self._book.forget(claim)

    def finish(self, claim: Claim) -> None:
        """The entries are gone, as was wanted: tell everybody who waits for that. Does nothing the second time."""
        if claim.state is State.LEFT:
            return
        if claim.state is not State.LEAVING:  # or that was done when it began to leave
            self._book.disown(claim)
        claim.state = State.LEFT
        if claim.why is not None:
            self._host.counters.withdrawn += 1
            self._end_wait(claim, claim.why)
        elif claim.leavers:
            self._host.counters.releases += 1
        for request, cancels in claim.leavers or ():
            self._outbox.reply(request, Cancelled(claim.granted) if cancels else Released())
        claim.leavers = None

    def vanish(self, claim: Claim, eviction: EvictionRecord | None) -> None:
        """An entry was deleted, and not by the session: the claim is lost as a whole."""
        claim.stop_timer()
        if claim.state is State.HELD:
            self._lose(claim, refusals.loss_of(eviction), eviction)
        else:
            self._end_wait(claim, LockError(Reason.REMOVED_EXTERNALLY, "the entry was deleted in etcd"))
        self._book.disown(claim)
        if len(claim.parts) > 1:
            self.drop(claim)
        else:
            claim.state = State.LEFT
            self._book.forget(claim)

    def end(self, error: LockError, loss: LossReason | None, eviction: EvictionRecord | None) -> None:
        """The session is over: answer everything. Held locks are reported lost unless the client closed it."""
        for claim in self._book.by_acquire.values():
            claim.stop_timer()
            for request, _ in claim.leavers or ():
                self._outbox.reply(request, error)
            claim.leavers = None
            if claim.state is State.HELD:
                if loss is not None:
                    self._lose(claim, loss, eviction)
            elif claim.state is not State.LEFT and not (claim.state is State.LEAVING and claim.why is None):
                self._end_wait(claim, error)
            claim.state = State.LEFT  # an outcome that is still on its way changes nothing any more
        self._book.clear()

    def _lose(self, claim: Claim, reason: LossReason, eviction: EvictionRecord | None) -> None:
        self._host.counters.losses[(reason.name,)] += 1
        detail, actor = (eviction.reason, eviction.actor) if eviction is not None else ("", "")
        self._outbox.push(Lost(claim.acquire, claim.name, claim.token, reason, detail, actor))

    def _end_wait(self, claim: Claim, error: LockError) -> None:
        if claim.request is not None:
            self._outbox.reply(claim.request, error)
            claim.request = None
        else:
            self._outbox.push(WaitEnded(claim.acquire, error))
