"""Which waiting proposals go into the next transaction.

The compares of nested transactions all see the state before the whole transaction. Two acquires of one free lock in one
transaction would therefore BOTH find it free and both be granted. Hence the planner's invariants:

1. At most one entry-creating proposal per lock name in one transaction.
2. One proposal per key at a time: a proposal waits until the one before it on the same entry (or record of a session,
   or of an eviction) is settled. No key is written twice in a transaction, which etcd would refuse as a whole.
3. A transaction has no more operations than etcd takes, those of its largest proposal counted with its own.

Within these, proposals go in the order in which they came: there is a lane for each name and for each key, a proposal
stands in all of its lanes at once, and it is ready when it is at the head of them all.
"""

from collections import deque
from collections.abc import Hashable, Sequence

from lockstream_server.store.keys import eviction_id, own_entry
from lockstream_server.store.port import (
    DeleteEntry,
    DeleteSession,
    Evict,
    EvictSession,
    Proposal,
    PutEntries,
    PutEntry,
    RewriteEntry,
    Settle,
)

_ONE_ENTRY = (PutEntry, DeleteEntry, RewriteEntry)


class Ticket:
    """A proposal and whom to tell what became of it."""

    __slots__ = ("creates", "missing", "proposal", "settle", "size", "writes")

    def __init__(self, proposal: Proposal, settle: Settle) -> None:
        self.proposal = proposal
        self.settle = settle
        self.missing = 0
        """Lanes in which others are before it."""
        self.size = 2
        """Operations or compares inside the proposal's own nested transaction, at the most."""
        self.creates: tuple[str, ...] = ()
        """The names in which it creates an entry: its lanes until it is taken."""
        self.writes: tuple[Hashable, ...] = ()
        """What stands for the keys it writes: its lanes until it is settled."""
        if isinstance(proposal, _ONE_ENTRY):
            self.writes = ((proposal.name, proposal.attachment.session, proposal.slot),)
            if isinstance(proposal, PutEntry):
                self.creates = (proposal.name,)
            elif isinstance(proposal, RewriteEntry):
                self.size = 3
        elif isinstance(proposal, PutEntries):
            session = proposal.attachment.session
            self.writes = tuple((part.name, session, part.slot) for part in proposal.parts)
            self.creates = tuple(part.name for part in proposal.parts)
            self.size = len(proposal.parts) + 1
        elif isinstance(proposal, Evict):
            self.writes = (entry_of(proposal.name, proposal.key),)
            if proposal.eviction is not None:
                self.writes += (eviction_id(proposal.eviction),)
        elif isinstance(proposal, DeleteSession):
            self.writes = (proposal.attachment.session,)
        else:
            self.writes = (proposal.session,)
            if isinstance(proposal, EvictSession):
                self.writes += (eviction_id(proposal.eviction),)

    def __repr__(self) -> str:
        return f"Ticket({self.proposal!r})"


def entry_of(name: str, key: str) -> Hashable:
    """The lane of the entry with this key; foreign keys have their own."""
    own = own_entry(key)
    return (name, own.session, own.slot) if own is not None else (name, key)


class Planner:
    """The proposals that wait for a transaction."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        """Proposals in one transaction at the most, with two more for what is in each."""
        self._ready: deque[Ticket] = deque()
        self._lanes: dict[Hashable, list[Ticket]] = {}
        """Most have one ticket, for which a deque would be a lot of memory to make and throw away."""
        self._waiting = 0

    def __len__(self) -> int:
        """How many proposals wait, ready or not."""
        return self._waiting

    def __repr__(self) -> str:
        return f"Planner(waiting={self._waiting}, ready={len(self._ready)}, lanes={len(self._lanes)})"

    @property
    def ready(self) -> bool:
        """Whether `take` has anything to give."""
        return bool(self._ready)

    def add(self, ticket: Ticket) -> None:
        """Take in a proposal."""
        self._waiting += 1
        lanes = self._lanes
        for key in ticket.writes + ticket.creates:
            lane = lanes.get(key)
            if lane is None:
                lanes[key] = [ticket]
            else:
                lane.append(ticket)
                ticket.missing += 1
        if not ticket.missing:
            self._ready.append(ticket)

    def take(self) -> list[Ticket]:
        """The proposals of the next transaction. They are in flight until `settled`."""
        ready = self._ready
        batch: list[Ticket] = []
        room = self._limit + 2
        largest = 0
        while ready:
            largest = max(largest, ready[0].size)
            if batch and len(batch) + 1 + largest > room:
                break
            batch.append(ready.popleft())
        for ticket in batch:
            for name in ticket.creates:
                self._leave(name)
        self._waiting -= len(batch)
        check_batch(batch)
        return batch

    def settled(self, ticket: Ticket) -> None:
        """The proposal is in flight no longer; the next one on its keys may go."""
        for key in ticket.writes:
            self._leave(key)

    def _leave(self, key: Hashable) -> None:
        """The first in the lane is through."""
        lane = self._lanes[key]
        del lane[0]
        if not lane:
            del self._lanes[key]
            return
        lane[0].missing -= 1
        if not lane[0].missing:
            self._ready.append(lane[0])


def check_batch(batch: Sequence[Ticket]) -> None:
    """Assert the invariants on one transaction. A violation would grant a lock twice, so it must never be sent."""
    creates = [name for ticket in batch for name in ticket.creates]
    writes = [key for ticket in batch for key in ticket.writes]
    if len(set(creates)) != len(creates) or len(set(writes)) != len(writes):
        raise AssertionError(f"two proposals in one transaction would see the same state: {batch}")
