"""What comes with holding a lock beyond having it: its longest time, its value, and wishes to yield."""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.messages import Downgraded, ValueSet, YieldAsked, YieldRequested
from lockstream_server.core.model import EntryRecord, EvictionKind, EvictionRecord, Mode
from lockstream_server.sessions import evictions
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.host import Background, Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.outcomes import RETRY_SECONDS
from lockstream_server.sessions.rewrites import Rewrites
from lockstream_server.store.keys import entry_id
from lockstream_server.store.port import Attachment

log = logging.getLogger(__name__)


class Holds:
    """Steps on claims of one attachment that hold, or are about to."""

    def __init__(self, host: Host, attachment: Attachment, outbox: Outbox, background: Background) -> None:
        self._host = host
        self._attachment = attachment
        self._outbox = outbox
        self._background = background
        self.rewrites = Rewrites(host, attachment, outbox)

    # The longest hold.

    def limit(self, claim: Claim) -> None:
        """Ask the holder to yield before its longest hold, if it has one, is over, and evict it then."""
        terms = claim.record.terms
        if not terms.max_hold:
            return
        now = self._host.wall_clock()
        held_until = terms.held_until or now + terms.max_hold
        if not terms.held_until:
            # So that a resume elsewhere does not begin the time anew.
            self.rewrites.propose(claim, partial(_with_terms, held_until=held_until))
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
            await evictions.evict(self._host, entry, eviction)
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
        self.rewrites.propose(claim, partial(_with_terms, asks_yield=True), request, YieldAsked())

    # What a hold says.

    def set_value(self, request: int, claim: Claim, value: bytes, metadata: Mapping[str, str]) -> None:
        """Change the value and the labels of a hold. Raises LockError."""
        if len(claim.parts) > 1:
            raise LockError(Reason.WRONG_STATE, f"acquire {claim.acquire} holds several locks, which have no value")
        self.rewrites.propose(claim, partial(_with_terms, value=value, metadata=metadata), request, ValueSet())

    def downgrade(self, request: int, claim: Claim) -> None:
        """Make an exclusive hold shared. Raises LockError."""
        record = claim.record
        if len(claim.parts) > 1 or record.mode is Mode.PERMITS or record.terms.lock_delay:
            raise LockError(Reason.WRONG_STATE, f"{claim!r} cannot become shared")
        if record.mode is Mode.SHARED:
            self._outbox.reply(request, Downgraded())
            return
        self.rewrites.propose(claim, _shared, request, Downgraded())


def _with_terms(record: EntryRecord, **changed: Any) -> EntryRecord:
    return record._replace(terms=record.terms._replace(**changed))


def _shared(record: EntryRecord) -> EntryRecord:
    return _with_terms(record, upgrades=0)._replace(mode=Mode.SHARED)
