"""What comes with holding a lock beyond having it: its delay, its longest time, its value, and wishes to yield."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from functools import partial

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.messages import Downgraded, ValueSet, YieldAsked, YieldRequested
from lockstream_server.core.messages import Outcome as Reply
from lockstream_server.core.model import Entry, EntryRecord, EvictionKind, EvictionRecord, Mode, Terms
from lockstream_server.sessions import evictions, refusals
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.endings import Endings
from lockstream_server.sessions.host import Background, Host, settling
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.store.keys import delay_id, entry_id
from lockstream_server.store.port import Attachment, Outcome, Part, PutDelay, RewriteEntry, Verdict

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Until an eviction that etcd did not take is tried again."""


class Holds:
    """Steps on claims of one attachment that hold, or are about to."""

    def __init__(
        self, host: Host, attachment: Attachment, outbox: Outbox, endings: Endings, background: Background
    ) -> None:
        self._host = host
        self._attachment = attachment
        self._outbox = outbox
        self._endings = endings
        self._background = background
        self._rewriting: set[int] = set()
        """Requests for which the store writes."""

    def adopted(self, claim: Claim, entry: Entry) -> None:
        """Take up what an earlier attachment did for a hold."""
        terms = claim.record.terms
        if terms.lock_delay:
            shadow = self._host.table.entry(entry.name, delay_id(entry.key))
            if shadow is not None:
                claim.delay_lease = shadow.record.terms.delay_lease
            else:
                self.delay(claim, lambda: None)
        if terms.max_hold:
            self.limit(claim)

    # The lock delay.

    def delay(self, claim: Claim, then: Callable[[], None]) -> None:
        """Write the claim's lock delay, and go on when it stands."""
        self._background(self._delay(claim, then))

    async def _delay(self, claim: Claim, then: Callable[[], None]) -> None:
        name, slot, record = claim.parts[0]
        live = self._host.table.sessions.get(self._attachment.session)
        if live is None or live.record is None:
            return  # the session is over
        try:
            lease = await self._host.store.grant_lease(math.ceil(live.record.ttl + record.terms.lock_delay))
        except LockError as error:
            self._endings.give_up(claim, error)
            return
        terms = Terms(shadow_of=claim.token, lock_delay=record.terms.lock_delay, delay_lease=lease.session)
        shadow = EntryRecord(claim.acquire, Mode.EXCLUSIVE, record.owner, record.queued_at, terms)
        settled: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._host.store.propose(
            PutDelay(self._attachment, name, slot, claim.token, lease.session, shadow), settling(settled)
        )
        outcome = await settled
        if outcome.verdict is Verdict.WRITTEN and claim.active:
            claim.delay_lease = lease.session
            then()
            return
        if self._attachment.live:  # otherwise whoever resumed the session may have found it, and go by it
            await self._endings.revoke_delay(lease.session)
        if outcome.verdict in (Verdict.FAILED, Verdict.NO_SPACE):
            self._endings.give_up(claim, refusals.by_store(outcome.verdict))

    # The longest hold.

    def limit(self, claim: Claim) -> None:
        """Ask the holder to yield before the longest hold is over, and evict it then."""
        terms = claim.record.terms
        now = self._host.wall_clock()
        held_until = terms.held_until or now + terms.max_hold
        if not terms.held_until:
            # So that a resume elsewhere does not begin the time anew.
            self._rewrite(claim, claim.record._replace(terms=terms._replace(held_until=held_until)), None, None)
        remaining = held_until - now
        loop = asyncio.get_running_loop()
        claim.timer = loop.call_later(max(remaining - terms.yield_notice, 0), self._give_notice, claim, held_until)

    def _give_notice(self, claim: Claim, held_until: float) -> None:
        remaining = max(held_until - self._host.wall_clock(), 0.0)
        self._outbox.push(YieldRequested(claim.acquire, claim.name, claim.token, remaining))
        claim.timer = asyncio.get_running_loop().call_later(remaining, self._end_hold, claim)

    def _end_hold(self, claim: Claim) -> None:
        claim.timer = None
        self._background(self._evict(claim))

    async def _evict(self, claim: Claim) -> None:
        entry = self._host.table.entry(claim.name, entry_id(self._attachment.session, claim.parts[0].slot))
        if claim.state is not State.HELD or entry is None or entry.token != claim.token:
            return
        eviction = EvictionRecord(
            EvictionKind.MAX_HOLD_EXCEEDED,
            self._attachment.session,
            claim.name,
            claim.acquire,
            claim.token,
            f"held for longer than {claim.record.terms.max_hold:g} s",
            self._host.name,
            self._host.wall_clock(),
        )
        try:
            await evictions.evict(self._host.store, entry, eviction)
        except LockError as error:
            log.warning("a hold that lasts too long could not be evicted yet", extra={"why": error.detail})
            if claim.state is State.HELD:
                claim.timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._end_hold, claim)

    # Wishes to yield.

    def asked_to_yield(self, claim: Claim, name: str) -> None:
        """A waiter asks the holder to give the lock up."""
        self._outbox.push(YieldRequested(claim.acquire, name, claim.token, None))

    def request_yield(self, request: int, claim: Claim) -> None:
        """Write into a waiting entry that it asks the holders to yield. Raises LockError."""
        if len(claim.parts) > 1:
            raise LockError(Reason.WRONG_STATE, f"acquire {claim.acquire} waits for several locks")
        if claim.state is not State.WAITING or claim.record.terms.asks_yield:
            self._outbox.reply(request, YieldAsked())
            return
        record = claim.record._replace(terms=claim.record.terms._replace(asks_yield=True))
        self._rewrite(claim, record, request, YieldAsked())

    # What a hold says.

    def set_value(self, request: int, claim: Claim, value: bytes, metadata: Mapping[str, str]) -> None:
        """Change the value and the labels of a hold. Raises LockError."""
        if len(claim.parts) > 1:
            raise LockError(Reason.WRONG_STATE, f"acquire {claim.acquire} holds several locks, which have no value")
        terms = claim.record.terms._replace(value=value, metadata=metadata)
        self._rewrite(claim, claim.record._replace(terms=terms), request, ValueSet())

    def downgrade(self, request: int, claim: Claim) -> None:
        """Make an exclusive hold shared. Raises LockError."""
        record = claim.record
        if len(claim.parts) > 1 or record.mode is Mode.PERMITS or record.terms.lock_delay:
            raise LockError(Reason.WRONG_STATE, f"{claim!r} cannot become shared")
        if record.mode is Mode.SHARED:
            self._outbox.reply(request, Downgraded())
            return
        shared = record._replace(mode=Mode.SHARED, terms=record.terms._replace(upgrades=0))
        self._rewrite(claim, shared, request, Downgraded())

    def _rewrite(self, claim: Claim, record: EntryRecord, request: int | None, done: Reply | None) -> None:
        """Write what the claim's entry is to say from now on, and answer the request when it does."""
        name, slot, _ = claim.parts[0]
        claim.parts = [Part(name, slot, record)]
        if request is not None:
            self._rewriting.add(request)
        self._host.store.propose(
            RewriteEntry(self._attachment, name, slot, claim.token, record),
            partial(self._rewritten, claim, request, done),
        )

    def _rewritten(self, claim: Claim, request: int | None, done: Reply | None, outcome: Outcome) -> None:
        if request is None or done is None or request not in self._rewriting:
            return
        match outcome.verdict:
            case Verdict.WRITTEN:
                answer = done
            case Verdict.ABSENT:
                answer = refusals.not_held(claim.acquire)
            case Verdict.FAILED | Verdict.NO_SPACE:
                answer = refusals.by_store(outcome.verdict)
            case _:
                return  # REFUSED, UNKNOWN: the session is over, as the fold or the clock will tell
        self._rewriting.remove(request)
        self._outbox.reply(request, answer)

    def end(self, error: LockError) -> None:
        """The session is over: answer everything."""
        for request in self._rewriting:
            self._outbox.reply(request, error)
        self._rewriting.clear()
