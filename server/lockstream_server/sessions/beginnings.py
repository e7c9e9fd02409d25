"""How sessions begin at this server: opened anew, or taken over from where they were attached before."""

import asyncio
import hashlib
import hmac
import logging
import math
from collections import Counter
from collections.abc import Callable
from functools import partial

from lockstream._clock import Clock
from lockstream_server.core.errors import LockError, Reason, invalid, quota_exceeded
from lockstream_server.core.messages import Open, Resume
from lockstream_server.core.model import SessionRecord, session_text
from lockstream_server.core.session import LeaseProof
from lockstream_server.sessions import evictions, refusals
from lockstream_server.sessions.host import Background, Host
from lockstream_server.sessions.keeping import Keeping
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.outcomes import outcome_of, settling
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

BEGINNINGS = 64
"""Opens and resumes under way at a time. When a server comes back, thousands of clients do as well: taken all at once,
each would take as long as all of them, and none be done in time. Nor would all be heard in time: grpc.aio accepts one
stream in a round of the event loop, and the more there is to do in each, the fewer rounds there are. Of 5,000 sessions
on two busy cores, hundreds came too late with 256 at a time; with 64, which took no longer, few or none."""


class Beginnings:
    """Opens and resumes sessions, so many at a time."""

    def __init__(
        self, host: Host, sessions: dict[int, Session], new_token: Callable[[], str], background: Background
    ) -> None:
        """`sessions` are those of this server, by lease; each is there from its beginning to its end."""
        self._host = host
        self.draining_until: float | None = None
        """When this server stops, in seconds since the epoch; None while it takes sessions."""
        self._sessions = sessions
        self._new_token = new_token
        self._background = background
        self._opening: Counter[str] = Counter()
        self._turns = asyncio.Semaphore(BEGINNINGS)

    async def open(self, request: int, asked: Open, outbox: Outbox) -> Session:
        """Begin a session and send its greeting. Raises LockError."""
        async with self._turns:
            return await self._open(request, asked, outbox)

    async def resume(self, request: int, asked: Resume, outbox: Outbox) -> Session:
        """Take up a session and send its greeting. Raises LockError."""
        with Keeping(self._host.store, asked.session) as keeping:
            if self._turns.locked():
                await self._keep_while_waiting(asked, keeping)
            async with self._turns:
                return await self._resume(request, asked, outbox, keeping)

    async def _open(self, request: int, asked: Open, outbox: Outbox) -> Session:
        self._check_accepting()
        self._host.clients.check_open(asked.client_name, self._opening[asked.client_name])
        ttl = self._granted_ttl(asked.ttl)
        self._opening[asked.client_name] += 1
        try:
            clock = Clock(asyncio.get_running_loop())
            sent_at = clock.time()
            lease = await self._host.store.grant_lease(ttl)
            grace = lease.ttl if asked.grace is None else min(asked.grace, lease.ttl)
            token = self._new_token()
            record = SessionRecord(
                client_name=asked.client_name,
                metadata=asked.metadata,
                ttl=lease.ttl,
                grace=grace,
                heartbeats=asked.heartbeats,
                token_hash=hash_token(token),
                server=self._host.name,
                generation=1,
                opened_at=self._host.wall_clock(),
                nonce=self._new_token(),
            )
            try:
                async with asyncio.timeout(self._host.bounds.store_timeout):
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
        session = self._attach(attachment, record, LeaseProof(lease.ttl, sent_at), clock, outbox)
        session.greet(request, token)
        self._host.counters.opened += 1
        self._verify(session)
        return session

    async def _resume(self, request: int, asked: Resume, outbox: Outbox, keeping: Keeping) -> Session:
        self._check_accepting()
        try:
            async with asyncio.timeout(self._host.bounds.store_timeout):
                recorded = self._known(asked.session) or await self._read(asked.session)
                _check_token(asked, recorded)
                keeping.begin(recorded.record.ttl)
                proof = await keeping.proof()
                if proof is None:
                    raise _expired(asked.session)
                record, attachment = await self._take_over(asked, recorded)
                await self._folded(attachment.revision)
        except TimeoutError:
            raise _no_answer() from None
        live = self._host.table.sessions.get(asked.session)
        if live is None or live.record is None:
            raise _expired(asked.session)
        before = self._sessions.get(asked.session)
        if before is not None:
            before.superseded()
        session = self._attach(attachment, record, proof, keeping.clock, outbox)
        session.greet(request, "", [*live.entries.values()], evictions.of_session(self._host.table, asked.session))
        self._host.counters.resumed += 1
        self._verify(session)
        return session

    def _check_accepting(self) -> None:
        if self.draining_until is not None:
            raise refusals.draining()
        maximum = self._host.bounds.sessions
        if len(self._sessions) + self._opening.total() >= maximum:
            raise quota_exceeded("sessions", maximum, len(self._sessions), "this server has too many sessions")

    def _granted_ttl(self, asked: float | None) -> int:
        bounds = self._host.bounds
        ttl = bounds.default_ttl if asked is None else asked
        if ttl > bounds.max_ttl:
            raise invalid("ttl", f"must not be more than {bounds.max_ttl:g} s")
        return math.ceil(max(ttl, bounds.min_ttl))

    async def _keep_while_waiting(self, asked: Resume, keeping: Keeping) -> None:
        """Keep the lease of a session whose turn may come too late. Raises LockError."""
        try:
            async with asyncio.timeout(self._host.bounds.store_timeout):
                await self._folded(1)  # a server that has just started knows nobody
        except TimeoutError:
            raise _no_answer() from None
        known = self._known(asked.session)
        if known is not None:
            _check_token(asked, known)
            keeping.begin(known.record.ttl)

    def _known(self, session: int) -> Recorded | None:
        """The record as the table has it. There may be a newer one, so whoever relies on it compares its revision."""
        live = self._host.table.sessions.get(session)
        return Recorded(live.record, live.attached_at) if live is not None and live.record is not None else None

    async def _read(self, session: int) -> Recorded:
        recorded = await self._host.store.read_session(session)
        if recorded is None:
            raise self._ended_by(session) or _expired(session)
        return recorded

    def _ended_by(self, session: int) -> LockError | None:
        """What to tell a client whose session somebody ended while it was away."""
        record = self._host.table.evictions.get(session_text(session))
        return refusals.session_ended(record) if record is not None else None

    async def _take_over(self, asked: Resume, recorded: Recorded) -> tuple[SessionRecord, Attachment]:
        """Write the record anew, as often as somebody else does so in between: the later resume wins."""
        while True:
            record = recorded.record._replace(
                server=self._host.name, generation=recorded.record.generation + 1, nonce=self._new_token()
            )
            outcome = await self._propose(TakeOverSession(asked.session, recorded.attached_at, record))
            if outcome.verdict is Verdict.WRITTEN:
                return record, Attachment(asked.session, outcome.revision)
            recorded = await self._read(asked.session)
            _check_token(asked, recorded)

    async def _folded(self, revision: int) -> None:
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._host.milestones.when_folded(revision, partial(settling(reached), None))
        await reached

    async def _propose(self, proposal: Proposal) -> Outcome:
        outcome = await outcome_of(self._host.store, proposal)
        if outcome.verdict in (Verdict.FAILED, Verdict.NO_SPACE):
            raise refusals.by_store(outcome.verdict)
        return outcome

    def _attach(
        self, attachment: Attachment, record: SessionRecord, proof: LeaseProof, clock: Clock, outbox: Outbox
    ) -> Session:
        if not proof.remaining(clock.time()):
            raise LockError(Reason.STORE_UNAVAILABLE, "etcd took longer than the TTL to answer")
        session = Session(
            self._host, attachment, record, proof, outbox, clock=clock, background=self._background, ended=self._forget
        )
        self._sessions[attachment.session] = session
        return session

    def _verify(self, session: Session) -> None:
        """The table has reached the attachment: see that nothing overtook it unseen, neither there nor here."""
        if self.draining_until is not None:
            session.drain(self.draining_until)
        live = self._host.table.sessions.get(session.attachment.session)
        if live is None or live.record is None:
            session.expired()
        elif live.attached_at > session.attachment.revision:
            session.superseded()

    def _forget(self, session: Session) -> None:
        if self._sessions.get(session.attachment.session) is session:
            del self._sessions[session.attachment.session]

    async def _revoke(self, lease: int) -> None:
        try:
            await self._host.store.revoke_lease(lease)
        except LockError as error:
            log.info("a lease could not be revoked", extra={"session": session_text(lease), "why": error.detail})


def hash_token(token: str) -> str:
    """What is kept of a resume token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _check_token(asked: Resume, recorded: Recorded) -> None:
    if not hmac.compare_digest(recorded.record.token_hash, hash_token(asked.token)):
        raise LockError(Reason.BAD_RESUME_TOKEN, "the resume token is not that of the session")


def _expired(session: int) -> LockError:
    return LockError(Reason.SESSION_EXPIRED, f"there is no session {session_text(session)}")


def _no_answer() -> LockError:
    return LockError(Reason.STORE_UNAVAILABLE, "etcd did not answer in time")
