"""Group commit: proposals of all sessions in a few transactions at a time.

Proposals collect while the allowed number of transactions is in flight; each transaction that ends takes along what
has collected. So a lone proposal goes at once, and under load the transactions grow to their limit.
"""

import asyncio
import logging
from collections.abc import Sequence

import grpc

from lockstream_server.core.errors import quota_exceeded
from lockstream_server.store.batch import Planner, Ticket
from lockstream_server.store.etcd.client import RETRY_SECONDS, Connection, EtcdClient, out_of_space
from lockstream_server.store.etcd.transactions import Transactions
from lockstream_server.store.port import (
    CreateSession,
    DeleteEntry,
    DeleteSession,
    Evict,
    EvictSession,
    Outcome,
    Proposal,
    PutEntries,
    PutEntry,
    Settle,
    TakeOverSession,
    Verdict,
)

log = logging.getLogger(__name__)


def _txn(connection: Connection) -> object:
    return connection.txn


def _given_up(proposal: Proposal) -> bool:
    """Whether its session ended here, so that nobody waits for what becomes of the proposal."""
    return not isinstance(proposal, _ALWAYS_WANTED) and not proposal.attachment.live


_ALWAYS_WANTED = (CreateSession, TakeOverSession, DeleteSession, Evict, EvictSession)


def _only_deletes(proposal: Proposal) -> bool:
    return isinstance(proposal, DeleteEntry | DeleteSession) or (isinstance(proposal, Evict) and not proposal.eviction)


class Commits:
    """The write path: takes proposals, settles each exactly once."""

    def __init__(self, client: EtcdClient, transactions: Transactions) -> None:
        self._client = client
        self._transactions = transactions
        self._planner = Planner(client.options.transaction_proposals)
        self._flushing = False
        self._closed = False
        self._in_flight: set[asyncio.Task[None]] = set()
        self.committed = 0
        """Transactions that etcd answered."""
        self.proposed = 0
        """Proposals taken in."""

    def __repr__(self) -> str:
        return f"Commits(in_flight={len(self._in_flight)}, {self._planner!r})"

    def propose(self, proposal: Proposal, settle: Settle) -> None:
        """Send a proposal with the next transaction.

        Raises LockError (QUOTA_EXCEEDED) when too many wait and it creates an entry; anything else is always taken.
        """
        maximum = self._client.options.proposals_waiting
        if len(self._planner) >= maximum and isinstance(proposal, PutEntry | PutEntries):
            raise quota_exceeded("proposals_waiting", maximum, len(self._planner), "the server is overloaded")
        self.proposed += 1
        self._planner.add(Ticket(proposal, settle))
        if not self._flushing:
            # Whatever else is proposed before the loop comes round goes into the same transaction.
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._closed:
            return
        while self._planner.ready and len(self._in_flight) < self._client.options.transactions_in_flight:
            # What is sent together sees the state before it: beside the end of its session, an acquire would be written
            # as if that was still there.
            batch = self._drop_given_up(self._planner.take())
            if batch:
                task = asyncio.get_running_loop().create_task(self._commit(batch))
                self._in_flight.add(task)
                task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            self._flush()

    async def _commit(self, batch: Sequence[Ticket], *, explain: bool = False) -> None:
        """Commit a batch, repeating it until its outcome is known or nobody waits for it."""
        while batch:
            connection = self._client.connection
            proposals = [ticket.proposal for ticket in batch]
            try:
                response = await self._client.attempt(_txn, self._transactions.request(proposals, explain=explain))
                outcomes = self._transactions.outcomes(proposals, response)
            except grpc.aio.AioRpcError as error:
                if out_of_space(error):
                    deleting = self._settle_writing(batch)
                    if len(deleting) == len(batch):
                        await asyncio.sleep(RETRY_SECONDS)
                    batch = deleting
                elif self._client.transient(connection, error):
                    await asyncio.sleep(RETRY_SECONDS)
                    batch = self._drop_given_up(batch)
                elif len(batch) > 1:
                    # One of them is at fault; its neighbours are not to suffer.
                    for ticket in batch:
                        await self._commit([ticket])
                    return
                else:
                    self._settle(batch[0], Outcome(self._refusal(error), 0))
                    return
            except Exception:
                # A defect here must not leave anybody without an answer.
                log.exception("a commit failed unexpectedly")
                for ticket in batch:
                    self._settle(ticket, Outcome(Verdict.FAILED, 0))
                return
            else:
                self.committed += 1
                unexplained = []
                for ticket, outcome in zip(batch, outcomes, strict=True):
                    if outcome is None:
                        unexplained.append(ticket)
                    else:
                        self._settle(ticket, outcome)
                batch, explain = unexplained, True

    def _settle_writing(self, batch: Sequence[Ticket]) -> list[Ticket]:
        """There is no space to write: settle what would. Returns what only deletes, which makes some."""
        deleting = []
        for ticket in batch:
            if _only_deletes(ticket.proposal):
                deleting.append(ticket)
            else:
                self._settle(ticket, Outcome(Verdict.NO_SPACE, 0))
        return deleting

    def _refusal(self, error: grpc.aio.AioRpcError) -> Verdict:
        if error.code() is grpc.StatusCode.NOT_FOUND:  # the lease
            return Verdict.REFUSED
        log.error("etcd refuses a transaction", extra={"code": error.code().name, "detail": error.details()})
        return Verdict.FAILED

    def _drop_given_up(self, batch: Sequence[Ticket]) -> list[Ticket]:
        kept = []
        for ticket in batch:
            if _given_up(ticket.proposal):
                self._settle(ticket, Outcome(Verdict.UNKNOWN, 0))
            else:
                kept.append(ticket)
        return kept

    def _settle(self, ticket: Ticket, outcome: Outcome) -> None:
        self._planner.settled(ticket)
        try:
            ticket.settle(outcome)
        except Exception:
            # A defect in one session must not keep its neighbours in the batch from being told.
            log.exception("settling a proposal failed")

    async def close(self) -> None:
        """Abandon what is in flight and what waits: nobody is told what became of it."""
        self._closed = True
        tasks = [*self._in_flight]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
