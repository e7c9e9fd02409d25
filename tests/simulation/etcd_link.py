"""The way of one server to etcd, as unreliable as the real one.

Requests and answers take time, get lost, are asked again while the first attempt is still under way and lands later;
watches fall behind, break, and find the history compacted; renewals go unanswered. What the real store does about it is
done here by the same rules.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.sessions.outcomes import settling
from lockstream_server.store.batch import Planner, Ticket
from lockstream_server.store.memory import MemoryStore
from lockstream_server.store.port import (
    CreateSession,
    DeleteSession,
    Evict,
    EvictSession,
    Feed,
    Lease,
    Outcome,
    Proposal,
    Recorded,
    Settle,
    TakeOverSession,
    Verdict,
)
from tests.simulation.line import REQUEST_TIMEOUT, Line, Watch
from tests.simulation.processes import Callback, Process

T = TypeVar("T")

RETRY_SECONDS = 0.1
"""Between attempts, as in the etcd store."""
DIAL_TIMEOUT = 3.0
"""Seconds that a call may take with all its attempts, as in the etcd store."""

_ALWAYS_WANTED = (CreateSession, TakeOverSession, DeleteSession, Evict, EvictSession)
"""Proposals that are repeated until they are settled, whatever became of their session."""


class EtcdLink:
    """A `Store` that is out there. Belongs to one server process and dies with it."""

    def __init__(self, process: Process, line: Line, transactions: int, in_flight: int) -> None:
        """`transactions` is how many proposals one has at the most; `in_flight` how many there are at a time."""
        self._process = process
        self._line = line
        self._planner = Planner(transactions)
        self._room = in_flight
        self._flushing = False
        self._renewing: dict[int, _Renewal] = {}
        self._watch: Watch | None = None
        self.proposals = 0
        self.transactions = 0
        self.resyncs = 0

    def __repr__(self) -> str:
        return f"EtcdLink({self._planner!r}, renewing={list(self._renewing)})"

    @property
    def idle(self) -> bool:
        """Whether nothing of this server is under way."""
        return not len(self._planner) and not self._planner.ready and not self._renewing

    # Transactions.

    def propose(self, proposal: Proposal, settle: Settle) -> None:
        """See `Store.propose`."""
        self.proposals += 1
        self._planner.add(Ticket(proposal, settle))
        if not self._flushing:
            self._flushing = True
            self._process.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        while self._planner.ready and self._room:
            self._room -= 1
            self._attempt(self._planner.take())

    def _attempt(self, batch: Sequence[Ticket]) -> None:
        """Send a transaction; when no answer comes in time, send it again, though it may have arrived."""
        attempt = _Attempt(self, batch)
        attempt.timer = self._process.call_later(REQUEST_TIMEOUT, attempt.time_out)
        line, etcd = self._line, self._line.etcd
        line.send(
            self._process,
            etcd.process,
            etcd.commit,
            [ticket.proposal for ticket in batch],
            lambda outcomes: line.send(etcd.process, self._process, attempt.answered, outcomes),
        )

    def _answered(self, batch: Sequence[Ticket], outcomes: Sequence[Outcome]) -> None:
        self.transactions += 1
        self._room += 1
        for ticket, outcome in zip(batch, outcomes, strict=True):
            self._settle(ticket, outcome)
        self._flush()

    def _unanswered(self, batch: Sequence[Ticket]) -> None:
        self._process.call_later(RETRY_SECONDS, self._repeat, batch)

    def _repeat(self, batch: Sequence[Ticket]) -> None:
        kept = []
        for ticket in batch:
            proposal = ticket.proposal
            if isinstance(proposal, _ALWAYS_WANTED) or proposal.attachment.live:
                kept.append(ticket)
            else:
                self._settle(ticket, Outcome(Verdict.UNKNOWN, 0))
        if kept:
            self._attempt(kept)
        else:
            self._room += 1
            self._flush()

    def _settle(self, ticket: Ticket, outcome: Outcome) -> None:
        self._planner.settled(ticket)
        ticket.settle(outcome)

    # Leases and reads.

    async def grant_lease(self, ttl: int) -> Lease:
        """See `Store.grant_lease`."""
        return await self._call(lambda truth: truth.grant_lease(ttl))

    async def revoke_lease(self, session: int) -> None:
        """See `Store.revoke_lease`."""
        await self._call(lambda truth: truth.revoke_lease(session))

    async def read_session(self, session: int) -> Recorded | None:
        """See `Store.read_session`."""
        return await self._call(lambda truth: truth.read_session(session))

    async def read_lock(self, name: str) -> Snapshot:
        """See `Store.read_lock`."""
        return await self._call(lambda truth: truth.read_lock(name))

    async def _call(self, work: Callable[[MemoryStore], Coroutine[Any, Any, T]]) -> T:
        """Ask until there is an answer. Raises LockError (STORE_UNAVAILABLE)."""
        loop, line, etcd = self._process, self._line, self._line.etcd
        deadline = loop.time() + DIAL_TIMEOUT
        while True:
            answer: asyncio.Future[list[T]] = loop.create_future()
            arrived = settling(answer)
            line.send(loop, etcd.process, etcd.call, work, partial(self._reply, arrived))
            timer = loop.call_later(min(REQUEST_TIMEOUT, deadline - loop.time()), arrived, [])
            if result := await answer:
                timer.cancel()
                return result[0]
            if loop.time() + RETRY_SECONDS >= deadline:
                raise LockError(Reason.STORE_UNAVAILABLE, "etcd does not answer")
            await asyncio.sleep(RETRY_SECONDS)

    def _reply(self, arrived: Callable[[list[T]], None], result: T) -> None:
        """On etcd's side."""
        self._line.send(self._line.etcd.process, self._process, arrived, [result])

    def renew_lease(self, session: int, confirm: Callable[[bool], None]) -> None:
        """See `Store.renew_lease`. Asked again until it is answered; who asks meanwhile waits for the next answer."""
        renewal = self._renewing.get(session)
        if renewal is None:
            renewal = self._renewing[session] = _Renewal(confirm)
            self._ask_renewal(session, renewal)
        else:
            renewal.later.append(confirm)

    def _ask_renewal(self, session: int, renewal: "_Renewal") -> None:
        line = self._line
        renewal.timer = self._process.call_later(REQUEST_TIMEOUT, self._ask_renewal_again, session, renewal)

        attempt = renewal.timer

        def renewed(alive: bool) -> None:
            line.send(line.etcd.process, self._process, self._renewed, session, renewal, attempt, alive)

        line.send(self._process, line.etcd.process, line.etcd.truth.renew_lease, session, renewed)

    def _ask_renewal_again(self, session: int, renewal: "_Renewal") -> None:
        renewal.asked += renewal.later
        renewal.later = []
        self._ask_renewal(session, renewal)

    def _renewed(self, session: int, renewal: "_Renewal", attempt: Callback, alive: bool) -> None:
        """An answer proves nothing to whoever asked after its request was sent: that of an old attempt is void."""
        if self._renewing.get(session) is not renewal or renewal.timer is not attempt:
            return
        del self._renewing[session]
        attempt.cancel()
        for confirm in renewal.asked:
            confirm(alive)
        for confirm in renewal.later:
            self.renew_lease(session, confirm)

    # The feed.

    async def follow(self, feed: Feed) -> None:
        """See `Store.follow`."""
        complete = False
        while True:
            self._watch = Watch(self._process, self._line, feed, None if not complete else feed.revision)
            if not complete:
                self.resyncs += 1
            await self._watch.broken
            complete = self._line.random.random() >= self._line.compacted and feed.revision > 0
            await asyncio.sleep(RETRY_SECONDS)

    def break_watch(self) -> None:
        """The watch breaks, with whatever is on its way."""
        if self._watch is not None:
            self._watch.end()

    def stall_watch(self, seconds: float) -> None:
        """The watch falls behind."""
        if self._watch is not None:
            self._watch.stall(seconds)

    async def read_state(self, revision: int) -> Snapshot:
        """See `Store.read_state`."""
        return await self._call(lambda truth: truth.read_state(revision))

    def read_history(self, after: int, until: int) -> AsyncGenerator[Revision, None]:
        """See `Store.read_history`."""
        return self._line.etcd.truth.read_history(after, until)

    @property
    def lag(self) -> float:
        """See `Store.lag`."""
        return 0.0


class _Attempt:
    """One attempt to commit a transaction. Of its answer and its timeout only the first counts."""

    def __init__(self, link: EtcdLink, batch: Sequence[Ticket]) -> None:
        self._link = link
        self._batch = batch
        self._over = False
        self.timer: Callback | None = None

    def answered(self, outcomes: Sequence[Outcome]) -> None:
        if not self._over:
            self._over = True
            if self.timer is not None:
                self.timer.cancel()
            self._link._answered(self._batch, outcomes)  # noqa: SLF001 - a part of the link

    def time_out(self) -> None:
        if not self._over:
            self._over = True
            self._link._unanswered(self._batch)  # noqa: SLF001 - a part of the link


class _Renewal:
    """The unanswered renewals of one lease."""

    def __init__(self, confirm: Callable[[bool], None]) -> None:
        self.asked = [confirm]
        self.later: list[Callable[[bool], None]] = []
        self.timer: Callback | None = None
