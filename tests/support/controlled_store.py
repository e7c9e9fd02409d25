"""A store whose every answer and every revision arrives when the test says so.

Between a server and the truth lie three queues: proposals on their way to the store, outcomes on their way back, and
the feed. The test moves each along on its own, which makes every interleaving of them a case that can be written down,
found by search, and repeated. The truth is a `MemoryStore`, which several servers may share.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import dataclass, field

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.store.batch import Ticket
from lockstream_server.store.memory import MemoryStore
from lockstream_server.store.port import Evict, Feed, Lease, Outcome, Proposal, Recorded, Settle, Verdict

LATENCY = 0.001
"""Seconds that a lease request takes to reach the store: a lease always ends later than what proves it."""


@dataclass(eq=False)
class Sent:
    """A proposal on its way, or its outcome on the way back."""

    proposal: Proposal
    settle: Settle
    outcome: Outcome | None = None


@dataclass
class _Delayed:
    """A feed that receives only what is let through."""

    feed: Feed
    held_back: deque[Revision] = field(default_factory=deque)

    @property
    def revision(self) -> int:
        return self.held_back[-1].number if self.held_back else self.feed.revision

    def fold(self, revision: Revision) -> None:
        self.held_back.append(revision)

    def resync(self, snapshot: Snapshot) -> None:
        self.held_back.clear()
        self.feed.resync(snapshot)


class ControlledStore:
    """One server's way to the truth. Order per key is kept, and no repeat is told."""

    def __init__(self, truth: MemoryStore) -> None:
        self.truth = truth
        self.sent: list[Sent] = []
        """Proposals that the truth has not seen, and those it has whose outcome was not told."""
        self.strays: list[Proposal] = []
        """First attempts of proposals that were repeated meanwhile; they may still land."""
        self.evicted: set[int] = set()
        """Tokens of entries that were to be evicted."""
        self.proposals = 0
        self.confirms: deque[Callable[[], None]] = deque()
        """Answers to renewals, held back."""
        self.hold_confirms = False
        self.no_leases = False
        """Whether it grants no leases now."""
        self.cut_off = False
        """Whether nothing more is heard of its server, which is dead, or as good as that."""
        self._feed: _Delayed | None = None
        self._following: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"ControlledStore({len(self.sent)} sent, {len(self.strays)} strays, {len(self.held_back)} held back)"

    # What the test decides.

    @property
    def held_back(self) -> deque[Revision]:
        """Revisions on their way to the server."""
        return self._feed.held_back if self._feed is not None else deque()

    def uncommitted(self) -> list[Sent]:
        """Those that may reach the truth next: of each key, only the first that writes it."""
        seen: set[Hashable] = set()
        first = []
        for sent in self.sent:
            keys = Ticket(sent.proposal, sent.settle).writes
            if sent.outcome is None and seen.isdisjoint(keys):
                first.append(sent)
            seen.update(keys)
        return first

    def untold(self) -> list[Sent]:
        """Those whose outcome may arrive next."""
        return [sent for sent in self.sent if sent.outcome is not None]

    def commit(self, sent: Sent) -> None:
        """The proposal reaches the truth; its outcome is on the way back."""

        def decided(outcome: Outcome) -> None:
            sent.outcome = outcome

        self.truth.propose(sent.proposal, decided)

    def commit_unheard(self, sent: Sent) -> None:
        """The proposal reaches the truth and its answer is lost: it will be repeated."""
        self.truth.propose(sent.proposal, lambda _: None)

    def turn_down(self, sent: Sent, verdict: Verdict) -> None:
        """The truth does not take this attempt: NO_SPACE or FAILED is on the way back. An earlier one it may have."""
        sent.outcome = Outcome(verdict, 0)

    def stray(self, sent: Sent) -> None:
        """The proposal is taken for lost and will be repeated, but the first attempt is still on its way."""
        self.strays.append(sent.proposal)

    def land(self, proposal: Proposal) -> None:
        """A stray first attempt reaches the truth after all."""
        self.strays.remove(proposal)
        self.truth.propose(proposal, lambda _: None)

    def tell(self, sent: Sent) -> None:
        """The outcome arrives."""
        assert sent.outcome is not None
        self.sent.remove(sent)
        sent.settle(sent.outcome)

    def feed(self) -> None:
        """The next revision arrives."""
        assert self._feed is not None
        self._feed.feed.fold(self._feed.held_back.popleft())

    def confirm(self) -> None:
        """Answers to renewals arrive again, the held back ones first."""
        self.hold_confirms = False
        while self.confirms:
            self.confirms.popleft()()

    def move(self) -> bool:
        """Let everything through that is on its way now. Returns whether there was anything."""
        moved = False
        for sent in self.uncommitted():
            self.commit(sent)
            moved = True
        for sent in self.untold():
            self.tell(sent)
            moved = True
        while self.held_back:
            self.feed()
            moved = True
        return moved

    async def break_feed(self) -> None:
        """The history is lost from where the server is: it begins anew from a snapshot."""
        assert self._feed is not None
        await self.start(self._feed.feed)

    async def start(self, feed: Feed) -> None:
        """Follow the truth, holding back every revision but the first snapshot."""
        await self.stop()
        self._feed = _Delayed(feed)
        self._following = asyncio.ensure_future(self.truth.follow(self._feed))
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    # The port.

    def propose(self, proposal: Proposal, settle: Settle) -> None:
        """See `Store.propose`."""
        if self.cut_off:
            return
        self.proposals += 1
        if isinstance(proposal, Evict):
            self.evicted.add(proposal.token)
        self.sent.append(Sent(proposal, settle))

    async def grant_lease(self, ttl: int) -> Lease:
        """See `Store.grant_lease`."""
        await asyncio.sleep(LATENCY)
        if self.no_leases:
            raise LockError(Reason.STORE_UNAVAILABLE, "it grants no leases now")
        return await self.truth.grant_lease(ttl)

    async def revoke_lease(self, session: int) -> None:
        """See `Store.revoke_lease`."""
        await self.truth.revoke_lease(session)

    def renew_lease(self, session: int, confirm: Callable[[bool], None]) -> None:
        """See `Store.renew_lease`."""
        if self.cut_off:
            return

        def confirmed(alive: bool) -> None:
            if self.hold_confirms:
                self.confirms.append(lambda: confirm(alive))
            else:
                confirm(alive)

        asyncio.get_running_loop().call_later(LATENCY, self.truth.renew_lease, session, confirmed)

    async def read_session(self, session: int) -> Recorded | None:
        """See `Store.read_session`."""
        return await self.truth.read_session(session)

    async def read_lock(self, name: str) -> Snapshot:
        """See `Store.read_lock`."""
        return await self.truth.read_lock(name)

    async def follow(self, feed: Feed) -> None:
        """See `Store.follow`."""
        await self.start(feed)
        assert self._following is not None
        await self._following

    async def read_state(self, revision: int) -> Snapshot:
        """See `Store.read_state`."""
        return await self.truth.read_state(revision)

    def read_history(self, after: int, until: int) -> AsyncGenerator[Revision, None]:
        """See `Store.read_history`."""
        return self.truth.read_history(after, until)

    @property
    def lag(self) -> float:
        """See `Store.lag`."""
        return 0.0

    @property
    def transactions(self) -> int:
        """See `Store.transactions`."""
        return self.proposals
