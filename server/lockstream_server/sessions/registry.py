"""All sessions of this server, and the table they live by."""

import asyncio
import hashlib
import hmac
import logging
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from lockstream_server.core.errors import LockError, Reason, invalid, quota_exceeded
from lockstream_server.core.messages import Open, Resume
from lockstream_server.core.model import SessionRecord, session_text
from lockstream_server.core.session import LeaseProof, Phase
from lockstream_server.core.table import Revision, Snapshot
from lockstream_server.sessions import evictions, refusals
from lockstream_server.sessions.dispatch import Dispatch
from lockstream_server.sessions.host import Host, settling
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.session import Session
from lockstream_server.store.port import (
    Attachment,
    CreateSession,
    Outcome,
    Proposal,
    Recorded,
    TakeOverSession,
    Verdict,
)

log = logging.getLogger(__name__)

DRAIN_SECONDS = 0.05
"""How often a draining server looks whether everybody has left."""


class Registry:
    """Opens and resumes sessions, and hands each what the fold says of it."""

    def __init__(self, host: Host, new_token: Callable[[], str]) -> None:
        self.host = host
        self.sessions: dict[int, Session] = {}
        """Attached to this server, or kept by it for their grace; by lease."""
        self.draining = False
        self._new_token = new_token
        self._opening: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dispatch = Dispatch(host, self.sessions, self._background)

    def __repr__(self) -> str:
        attached = sum(session.phase is Phase.ATTACHED for session in self.sessions.values())
        return f"Registry({attached} attached of {len(self.sessions)}, {self.host.table.revision=})"

    # Beginning.

    async def open(self, request: int, asked: Open, outbox: Outbox) -> Session:
        """Begin a session and send its greeting. Raises LockError."""
        self._check_accepting()
        self.host.clients.check_open(asked.client_name, self._opening[asked.client_name])
        ttl = self._granted_ttl(asked.ttl)
        self._opening[asked.client_name] += 1
        try:
            sent_at = asyncio.get_running_loop().time()
            lease = await self.host.store.grant_lease(ttl)
            grace = lease.ttl if asked.grace is None else min(asked.grace, lease.ttl)
            token = self._new_token()
            record = SessionRecord(
                client_name=asked.client_name,
                metadata=asked.metadata,
                ttl=lease.ttl,
                grace=grace,
                heartbeats=asked.heartbeats,
                token_hash=hash_token(token),
                server=self.host.name,
                generation=1,
                opened_at=self.host.wall_clock(),
            )
            try:
                async with asyncio.timeout(self.host.bounds.store_timeout):
                    outcome = await self._propose(CreateSession(lease.session, record))
                    if outcome.verdict is Verdict.WRITTEN:
                        await self._folded(outcome.revision)  # so that its client finds it wherever it asks here
            except BaseException as error:
                self._background(self._revoke(lease.session))
                if isinstance(error, TimeoutError):
                    raise _no_answer() from None
                raise
        finally:
            self._opening[asked.client_name] -= 1
            self._opening += Counter()  # forgets whose count is zero
        if outcome.verdict is not Verdict.WRITTEN:
            raise LockError(Reason.SESSION_EXPIRED, "the lease ended before the session began")
        attachment = Attachment(lease.session, outcome.revision)
        session = self._attach(attachment, record, LeaseProof(lease.ttl, sent_at), outbox)
        session.greet(request, token)
        self.host.counters.opened += 1
        self._verify(session)
        return session

    async def resume(self, request: int, asked: Resume, outbox: Outbox) -> Session:
        """Take up a session and send its greeting. Raises LockError."""
        self._check_accepting()
        try:
            async with asyncio.timeout(self.host.bounds.store_timeout):
                recorded = await self._check_token(asked)
                sent_at = asyncio.get_running_loop().time()
                await self._renew(asked.session)
                record, attachment = await self._take_over(asked, recorded)
                await self._folded(attachment.revision)
        except TimeoutError:
            raise _no_answer() from None
        live = self.host.table.sessions.get(asked.session)
        if live is None or live.record is None:
            raise _expired(asked.session)
        before = self.sessions.get(asked.session)
        if before is not None:
            before.superseded()
        session = self._attach(attachment, record, LeaseProof(record.ttl, sent_at), outbox)
        session.greet(request, "", [*live.entries.values()], evictions.of_session(self.host.table, asked.session))
        self.host.counters.resumed += 1
        self._verify(session)
        return session

    def _check_accepting(self) -> None:
        if self.draining:
            raise _draining()
        maximum = self.host.bounds.sessions
        if len(self.sessions) + self._opening.total() >= maximum:
            raise quota_exceeded("sessions", maximum, len(self.sessions), "this server has too many sessions")

    def _granted_ttl(self, asked: float | None) -> int:
        bounds = self.host.bounds
        ttl = bounds.default_ttl if asked is None else asked
        if ttl > bounds.max_ttl:
            raise invalid("ttl", f"must not be more than {bounds.max_ttl:g} s")
        return math.ceil(max(ttl, bounds.min_ttl))

    async def _check_token(self, asked: Resume) -> Recorded:
        recorded = await self.host.store.read_session(asked.session)
        if recorded is None:
            raise self._ended_by(asked.session) or _expired(asked.session)
        if not hmac.compare_digest(recorded.record.token_hash, hash_token(asked.token)):
            raise LockError(Reason.BAD_RESUME_TOKEN, "the resume token is not that of the session")
        return recorded

    def _ended_by(self, session: int) -> LockError | None:
        """What to tell a client whose session somebody ended while it was away."""
        record = self.host.table.evictions.get(session_text(session))
        return refusals.session_ended(record) if record is not None else None

    async def _renew(self, session: int) -> None:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.host.store.renew_lease(session, settling(answer))
        if not await answer:
            raise _expired(session)

    async def _take_over(self, asked: Resume, recorded: Recorded) -> tuple[SessionRecord, Attachment]:
        """Write the record anew, as often as somebody else does so in between: the later resume wins."""
        while True:
            record = recorded.record._replace(server=self.host.name, generation=recorded.record.generation + 1)
            outcome = await self._propose(TakeOverSession(asked.session, recorded.attached_at, record))
            if outcome.verdict is Verdict.WRITTEN:
                return record, Attachment(asked.session, outcome.revision)
            recorded = await self._check_token(asked)

    async def _folded(self, revision: int) -> None:
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.host.milestones.when_folded(revision, partial(settling(reached), None))
        await reached

    async def _propose(self, proposal: Proposal) -> Outcome:
        settled: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.host.store.propose(proposal, settling(settled))
        outcome = await settled
        if outcome.verdict in (Verdict.FAILED, Verdict.NO_SPACE):
            raise refusals.by_store(outcome.verdict)
        return outcome

    def _attach(self, attachment: Attachment, record: SessionRecord, proof: LeaseProof, outbox: Outbox) -> Session:
        if not proof.remaining(asyncio.get_running_loop().time()):
            raise LockError(Reason.STORE_UNAVAILABLE, "etcd took longer than the TTL to answer")
        session = Session(self.host, attachment, record, proof, outbox, background=self._background, ended=self._forget)
        self.sessions[attachment.session] = session
        return session

    def _verify(self, session: Session) -> None:
        """The table has reached the attachment: see that nothing overtook it unseen."""
        live = self.host.table.sessions.get(session.attachment.session)
        if live is None or live.record is None:
            session.expired()
        elif live.attached_at > session.attachment.revision:
            session.superseded()

    def _forget(self, session: Session) -> None:
        if self.sessions.get(session.attachment.session) is session:
            del self.sessions[session.attachment.session]

    # The feed.

    @property
    def revision(self) -> int:
        """See `Feed.revision`."""
        return self.host.table.revision

    def fold(self, revision: Revision) -> None:
        """See `Feed.fold`."""
        at = self.host.wall_clock()
        effects = self.host.table.fold(revision, at)
        for effect in effects:
            self._dispatch.tell(effect)
        self.host.witness.took(self.host.table, effects, at)
        self.host.milestones.reached()

    def resync(self, snapshot: Snapshot) -> None:
        """See `Feed.resync`."""
        self.host.witness.observers.lost_track(self.host.table.revision)
        effects = self.host.table.fold(self.host.table.difference(snapshot))
        for effect in effects:
            self._dispatch.tell(effect)
        self.host.witness.took(self.host.table, effects, None)
        for session in [*self.sessions.values()]:
            session.claims.reconcile()
        self.host.milestones.reached()

    # Ending.

    def drain(self, until: float) -> None:
        """Take no more sessions and tell those there are, `until` being seconds since the epoch."""
        self.draining = True
        self.host.witness.observers.end(_draining())
        for session in self.sessions.values():
            session.drain(until)

    async def drained(self) -> None:
        """Wait until every session and observer has left and nothing is under way."""
        while self._busy():  # noqa: ASYNC110 - they leave in many ways
            await asyncio.sleep(DRAIN_SECONDS)

    def _busy(self) -> bool:
        attached = any(session.phase is Phase.ATTACHED for session in self.sessions.values())
        return attached or bool(self._tasks) or bool(self.host.witness.observers)

    async def close(self) -> None:
        """Let go of everything; the sessions go on in the store."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _revoke(self, lease: int) -> None:
        try:
            await self.host.store.revoke_lease(lease)
        except LockError as error:
            log.info("a lease could not be revoked", extra={"session": session_text(lease), "why": error.detail})

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def hash_token(token: str) -> str:
    """What is kept of a resume token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _expired(session: int) -> LockError:
    return LockError(Reason.SESSION_EXPIRED, f"there is no session {session_text(session)}")


def _draining() -> LockError:
    return LockError(Reason.DRAINING, "this server is about to stop")


def _no_answer() -> LockError:
    return LockError(Reason.STORE_UNAVAILABLE, "etcd did not answer in time")
