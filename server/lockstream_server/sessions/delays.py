"""The lock delay of a hold: a key beside its entry, under a lease that outlives the session's.

It is written before the grant is told, and renewed with the session. Whoever resumes the session takes it over, or
writes it where the server before it could not.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial

from lockstream_server.core.errors import LockError
from lockstream_server.core.model import Entry, EntryRecord, Mode, Terms
from lockstream_server.sessions import refusals
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.host import RETRY_SECONDS, Background, Host
from lockstream_server.sessions.outcomes import outcome_of
from lockstream_server.store.keys import delay_id
from lockstream_server.store.port import Attachment, PutDelay, Verdict

log = logging.getLogger(__name__)


class Delays:
    """The lock delays of one attachment."""

    __slots__ = ("_attachment", "_background", "_host")

    def __init__(self, host: Host, attachment: Attachment, background: Background) -> None:
        self._host = host
        self._attachment = attachment
        self._background = background

    def write(self, claim: Claim, then: Callable[[], None], failed: Callable[[LockError], None]) -> None:
        """Write the claim's lock delay. Then, or when that failed, go on, unless the claim has ended meanwhile."""
        if claim.active and self._attachment.live:
            self._background(self._write(claim, then, failed))

    def adopt(self, claim: Claim, entry: Entry) -> None:
        """Take over the delay of a hold that was told before; write it if it is missing."""
        shadow = self._host.table.entry(entry.name, delay_id(entry.key))
        if shadow is not None and shadow.record.terms.shadow_of == claim.token:
            claim.delay_lease = shadow.record.terms.delay_lease
            self.renew(claim)  # it may have been long since it was renewed
        else:
            self._keep(claim)

    def renew(self, claim: Claim) -> None:
        """The lease of the session is being renewed: that of its delay with it."""
        if claim.delay_lease:
            self._host.store.renew_lease(claim.delay_lease, partial(self._renewed, claim, claim.delay_lease))

    def end(self, claim: Claim) -> None:
        """The claim is not held any more, and its session lives: nothing is to be delayed."""
        if claim.delay_lease:
            lease, claim.delay_lease = claim.delay_lease, 0
            self._background(self._revoke(lease))

    def _renewed(self, claim: Claim, lease: int, alive: bool) -> None:
        if not alive and claim.delay_lease == lease and claim.state is State.HELD:  # else it is being written
            claim.delay_lease = 0
            self._keep(claim)

    def _keep(self, claim: Claim) -> None:
        """Write the delay of a lock that is held, as often as it takes: its holder believes in it."""
        self.write(claim, lambda: None, partial(self._keep_later, claim))

    def _keep_later(self, claim: Claim, why: LockError) -> None:
        log.warning("a lock is held without its delay", extra={"lock": claim.name, "why": why.detail})
        asyncio.get_running_loop().call_later(RETRY_SECONDS, self._keep, claim)

    async def _write(self, claim: Claim, then: Callable[[], None], failed: Callable[[LockError], None]) -> None:
        live = self._host.table.sessions.get(self._attachment.session)
        if live is None or live.record is None:
            return  # the session is over
        name, slot, record = claim.parts[0]
        try:
            lease = (await self._host.store.grant_lease(math.ceil(live.record.ttl + record.terms.lock_delay))).session
        except LockError as error:
            failed(error)
            return
        if not (claim.active and self._attachment.live):
            await self._revoke(lease)
            return
        claim.delay_lease = lease  # from here on, whoever ends the claim ends it too
        terms = Terms(shadow_of=claim.token, lock_delay=record.terms.lock_delay, delay_lease=lease)
        shadow = EntryRecord(claim.acquire, Mode.EXCLUSIVE, record.owner, record.queued_at, terms)
        proposal = PutDelay(self._attachment, name, slot, claim.token, lease, shadow)
        outcome = await outcome_of(self._host.store, proposal)
        if claim.delay_lease != lease:
            return  # it has ended
        if outcome.verdict is Verdict.WRITTEN and claim.active:
            then()
        elif outcome.verdict in (Verdict.FAILED, Verdict.NO_SPACE):
            self.end(claim)
            failed(refusals.by_store(outcome.verdict))
        elif outcome.verdict is Verdict.REFUSED:
            # The lease has ended, such as by an operator's hand. Or the session was resumed elsewhere, as the fold will
            # tell: then an earlier attempt may have written the delay, and whoever has the session renews that lease.
            claim.delay_lease = 0
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.write, claim, then, failed)

    async def _revoke(self, lease: int) -> None:
        """Revoke the lease of a lock delay, or leave it to end by itself."""
        try:
            await self._host.store.revoke_lease(lease)
        except LockError as error:
            log.info("the lease of a lock delay ends by itself", extra={"why": error.detail})
