"""One attachment of a session to this server: how long its lease lives, and what ends it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from lockstream._clock import Clock
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.messages import (
    Attached,
    Closed,
    Draining,
    Jeopardy,
    LossReason,
    Lost,
    Proof,
    Safe,
    SessionEnded,
)
from lockstream_server.core.model import Entry, EvictionRecord, SessionRecord, session_text
from lockstream_server.core.session import TRANSITIONS, LeaseProof, Phase, Standing
from lockstream_server.sessions import refusals
from lockstream_server.sessions.claims import Claims
from lockstream_server.sessions.host import Background, Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.requests import Requests
from lockstream_server.store.port import Attachment, DeleteSession, Verdict

RENEWALS_PER_TTL = 3
LEAD = 0.1
"""How long before a heartbeat the lease is renewed, as a share of the time between renewals. What a heartbeat is told
is then fresh: a client that is cut off knows its lease proven for almost a third of the TTL longer than if each
heartbeat came just before a renewal, as it does where both follow the attach by the same time. By as much a renewal is
put off at the most, where heartbeats are later than that."""


class Session:
    """What this server knows of a session while it is attached here, or was last.

    One timer serves everything that depends on time: renewals, jeopardy, the end of the proof, missing heartbeats and
    the grace of a detached session. `background` runs the few steps that have to wait for the store; `ended` is called
    once, when the session is over on this server. The times of `proof` are those of `clock`.
    """

    def __init__(
        self,
        host: Host,
        attachment: Attachment,
        record: SessionRecord,
        proof: LeaseProof,
        outbox: Outbox,
        *,
        clock: Clock,
        background: Background,
        ended: Callable[["Session"], None],
    ) -> None:
        self.attachment = attachment
        self.record = record
        self.outbox = outbox
        self.phase = Phase.ATTACHED
        self._host = host
        self._proof = proof
        self._background = background
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self.claims = Claims(host, attachment, record, outbox, self._is_proven, background)
        now = clock.time()
        self._in_jeopardy = False
        self._renewal_interval = record.ttl / RENEWALS_PER_TTL
        self._renewed_at = proof.until - record.ttl
        self._renew_at = self._renewed_at + self._renewal_interval * (1 - LEAD)
        self._heartbeat_by = now + record.ttl
        self._grace_until = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._tick()

    def __repr__(self) -> str:
        remaining = self._proof.remaining(self._clock.time())
        return (
            f"Session({session_text(self.attachment.session)} {self.phase.value}, "
            f"proven for {remaining:.1f}s, {self.claims!r}, {self.outbox!r})"
        )

    # What the client asks.

    def greet(
        self, request: int, resume_token: str, entries: Sequence[Entry] = (), evicted: Sequence[Lost] = ()
    ) -> None:
        """Reply to the open or resume that made this attachment. Must come before anything else is sent."""
        self.claims.adopt(entries)
        attached = Attached(
            self.attachment.session,
            resume_token,
            self.record.ttl,
            self.record.grace,
            self._proof.remaining(self._clock.time()),
            self.claims.messages(),
            self.record.server,
            self.record.generation,
            evicted,
        )
        self.outbox.reply(request, attached)
        self.claims.refuse_hopeless()

    def requests(self) -> Requests:
        """Where to take a request about claims. Raises LockError unless the session is attached."""
        if self.phase is Phase.ATTACHED:
            return self.claims.requests
        raise self._not_attached()

    def heartbeat(self, request: int) -> None:
        """Note that the client lives and answer how long the lease is proven. Raises LockError."""
        self._check_attached()
        now = self._clock.time()
        self._heartbeat_by = now + self.record.ttl
        self.outbox.reply(request, Proof(self._proof.remaining(now)))
        before_next = now + self._renewal_interval * (1 - LEAD)
        self._renew_at = min(before_next, self._renewed_at + self._renewal_interval * (1 + LEAD))
        self._tick()

    def close(self, request: int) -> None:
        """End the session at the client's wish. Raises LockError."""
        self._check_attached()
        error = LockError(Reason.SESSION_EXPIRED, "the session was closed")
        self._stop(error, None)
        self._host.counters.closed += 1
        self._background(self._close(request))

    def _check_attached(self) -> None:
        if self.phase is not Phase.ATTACHED:
            raise self._not_attached()

    def _not_attached(self) -> LockError:
        return LockError(Reason.WRONG_STATE, f"the session is {self.phase.value}")

    async def _close(self, request: int) -> None:
        freeing = asyncio.ensure_future(self._free(lost=False))
        try:
            async with asyncio.timeout(self._host.bounds.store_timeout):
                await asyncio.shield(freeing)
        except TimeoutError:
            error = LockError(Reason.STORE_UNAVAILABLE, "etcd did not answer in time; it is told as soon as it does")
            self.outbox.reply(request, error)
        except LockError as error:
            self.outbox.reply(request, error)
        else:
            self.outbox.reply(request, Closed())
        self.outbox.close()
        with suppress(LockError):
            await freeing

    # What ends it.

    def detach(self) -> None:
        """The stream is gone: keep the session for its grace, so that it can be resumed."""
        if self.phase is not Phase.ATTACHED:
            return
        self._enter(Phase.DETACHED)
        self.outbox.close()
        now = self._clock.time()
        self._grace_until = now + self.record.grace
        if self.record.grace > 0:
            self._renew(now)  # the grace counts from now, not from the last renewal
        self._tick()

    def superseded(self) -> None:
        """Another stream resumed the session."""
        error = LockError(Reason.SUPERSEDED, "another stream resumed the session")
        self._over(error, LossReason.SUPERSEDED)

    def expired(self, eviction: EvictionRecord | None = None) -> None:
        """The lease is gone, or somebody else ended the session."""
        if eviction is None:
            self._over(LockError(Reason.SESSION_EXPIRED, "the lease of the session ended"), LossReason.LEASE_EXPIRED)
        else:
            self._over(refusals.session_ended(eviction), LossReason.FORCE_RELEASED, eviction)

    @property
    def proven(self) -> float:
        """Seconds for which its client may believe in what it holds."""
        return self._proof.remaining(self._clock.time())

    def drain(self, until: float) -> None:
        """Tell the client that the server is about to stop, `until` seconds since the epoch."""
        self.outbox.push(Draining(until))

    def _over(self, error: LockError, loss: LossReason, eviction: EvictionRecord | None = None) -> None:
        if self.phase is Phase.ENDED:
            return
        self._stop(error, loss, eviction)
        self.outbox.push(SessionEnded(error))
        self.outbox.close()

    def _stop(self, error: LockError, loss: LossReason | None, eviction: EvictionRecord | None = None) -> None:
        """Answer everything and let go of it."""
        self._enter(Phase.ENDED)
        self.attachment.live = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.claims.end(error, loss, eviction)
        self._ended(self)

    async def _free(self, *, lost: bool) -> None:
        """Delete the session in the store, unless somebody resumed it elsewhere. Raises LockError.

        If it was `lost`, what it held with a lock delay stays; a client that says goodbye has nothing under way.

        The record goes first, in a guarded transaction: a revocation cannot be guarded, and must not hit a session
        that was resumed on another server a moment ago.
        """
        session, attached_at = self.attachment.session, self.attachment.revision
        verdict = await self._host.orphans.end(session, attached_at, DeleteSession(self.attachment), lost=lost)
        if verdict is Verdict.REFUSED:
            raise LockError(Reason.SUPERSEDED, "another stream resumed the session")
        if verdict is Verdict.FAILED:
            raise refusals.by_store(verdict)
        await self._host.store.revoke_lease(session)

    async def _free_quietly(self) -> None:
        with suppress(LockError):  # the lease ends by itself within its TTL
            await self._free(lost=True)

    def _enter(self, phase: Phase) -> None:
        if phase not in TRANSITIONS[self.phase]:
            raise AssertionError(f"{self!r} cannot become {phase.value}")
        self.phase = phase

    # What time brings.

    def _tick(self) -> None:
        """Do what is due and set the timer for what is next."""
        if self._timer is not None:
            self._timer.cancel()
        now = self._clock.time()
        standing = self._proof.standing(now)
        attached = self.phase is Phase.ATTACHED
        if now >= self._grace_until:
            self._expire("its stream did not come back", LossReason.LEASE_EXPIRED)
            return
        if standing is Standing.UNPROVEN:
            self._expire("etcd did not confirm the lease in time", LossReason.UNPROVEN)
            return
        if attached and self.record.heartbeats and now >= self._heartbeat_by:
            self._expire("no heartbeat within the TTL", LossReason.LEASE_EXPIRED)
            return
        if standing is Standing.JEOPARDY and not self._in_jeopardy:
            self._in_jeopardy = True
            self.outbox.push(Jeopardy(self._proof.remaining(now)))
        if attached and now >= self._renew_at:
            self._renew(now)
        due = [self._proof.until, self._grace_until]
        if not self._in_jeopardy:
            due.append(self._proof.jeopardy_at)
        if attached:
            due.append(self._renew_at)
            if self.record.heartbeats:
                due.append(self._heartbeat_by)
        self._timer = self._loop.call_at(self._clock.timer(min(due)), self._tick)

    def _expire(self, why: str, loss: LossReason) -> None:
        """End the session from here, and in the store as soon as that can be done."""
        self._over(LockError(Reason.SESSION_EXPIRED, f"the session ended: {why}"), loss)
        self._background(self._free_quietly())

    def _renew(self, now: float) -> None:
        self._renewed_at = now
        self._renew_at = now + self._renewal_interval
        self._host.store.renew_lease(self.attachment.session, partial(self._renewed, now))

    def _renewed(self, sent_at: float, alive: bool) -> None:
        """The answer to a renewal that was sent at that moment."""
        if self.phase is Phase.ENDED:
            return
        if not alive:
            self.expired()
            return
        now = self._clock.time()
        if self._proof.standing(now) is Standing.UNPROVEN:
            self._tick()  # the answer came too late: what could not be proven in between stays lost
            return
        self._proof.renewed(sent_at)
        if self._proof.standing(now) is Standing.SAFE and self._in_jeopardy:
            self._in_jeopardy = False
            self.outbox.push(Safe(self._proof.remaining(now)))
            self._tick()

    def _is_proven(self) -> bool:
        return self._clock.time() < self._proof.until
