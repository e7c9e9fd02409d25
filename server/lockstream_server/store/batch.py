"""Which waiting proposals go into the next transaction.

The compares of nested transactions all see the state before the whole transaction. Two acquires of one free lock in one
transaction would therefore BOTH find it free and both be granted. Hence the planner's invariants:

1. At most one entry-creating proposal per lock name in one transaction.
2. One proposal per entry at a time: a proposal waits until the one before it on the same entry is settled. No key
   is written twice in a transaction, which etcd would refuse as a whole.

Within these, proposals go in the order in which they came. Every step takes constant time, however many wait.
"""

from collections import deque
from collections.abc import Sequence

from lockstream_server.store.port import DeleteEntry, Proposal, PutEntry, Settle

EntryId = tuple[str, int, int]

_ENTRY_PROPOSALS = (PutEntry, DeleteEntry)


class Ticket:
    """A proposal and whom to tell what became of it."""

    __slots__ = ("creates", "entry", "proposal", "settle")

    def __init__(self, proposal: Proposal, settle: Settle) -> None:
        self.proposal = proposal
        self.settle = settle
        self.entry: EntryId | None = None
        """The entry that the proposal is about: name, session and slot."""
        self.creates: str | None = None
        """The name in which it creates an entry."""
        if isinstance(proposal, _ENTRY_PROPOSALS):
            self.entry = (proposal.name, proposal.attachment.session, proposal.slot)
            if isinstance(proposal, PutEntry):
                self.creates = proposal.name

    def __repr__(self) -> str:
        return f"Ticket({self.proposal!r})"


class Planner:
    """The proposals that wait for a transaction."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        """Proposals in one transaction at the most."""
        self._ready: deque[Ticket] = deque()
        self._creating: dict[str, deque[Ticket]] = {}
        """Names with a creating proposal in `_ready`, and those which wait behind it."""
        self._busy: dict[EntryId, deque[Ticket]] = {}
        """Entries with a proposal ready or in flight, and those which wait behind it."""
        self._waiting = 0

    def __len__(self) -> int:
        """How many proposals wait, ready or not."""
        return self._waiting

    def __repr__(self) -> str:
        return f"Planner(waiting={self._waiting}, ready={len(self._ready)}, busy={len(self._busy)})"

    @property
    def ready(self) -> bool:
        """Whether `take` has anything to give."""
        return bool(self._ready)

    def add(self, ticket: Ticket) -> None:
        """Take in a proposal."""
        self._waiting += 1
        entry = ticket.entry
        if entry is not None:
            behind = self._busy.get(entry)
            if behind is not None:
                behind.append(ticket)
                return
            self._busy[entry] = deque()
        self._offer(ticket)

    def take(self) -> list[Ticket]:
        """The proposals of the next transaction. They are in flight until `settled`."""
        count = min(self._limit, len(self._ready))
        batch = [self._ready.popleft() for _ in range(count)]
        for ticket in batch:
            if ticket.creates is not None:
                behind = self._creating[ticket.creates]
                if behind:
                    self._ready.append(behind.popleft())
                else:
                    del self._creating[ticket.creates]
        self._waiting -= count
        check_batch(batch)
        return batch

    def settled(self, ticket: Ticket) -> None:
        """The proposal is in flight no longer; the next one on its entry may go."""
        if ticket.entry is None:
            return
        behind = self._busy[ticket.entry]
        if behind:
            self._offer(behind.popleft())
        else:
            del self._busy[ticket.entry]

    def _offer(self, ticket: Ticket) -> None:
        if ticket.creates is not None:
            behind = self._creating.get(ticket.creates)
            if behind is not None:
                behind.append(ticket)
                return
            self._creating[ticket.creates] = deque()
        self._ready.append(ticket)


def check_batch(batch: Sequence[Ticket]) -> None:
    """Assert the invariants on one transaction. A violation would grant a lock twice, so it must never be sent."""
    creates = [ticket.creates for ticket in batch if ticket.creates is not None]
    entries = [ticket.entry for ticket in batch if ticket.entry is not None]
    if len(set(creates)) != len(creates) or len(set(entries)) != len(entries):
        raise AssertionError(f"two proposals in one transaction would see the same state: {batch}")
