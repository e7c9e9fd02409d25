"""The planner: whatever comes in whatever order, nothing is lost, doubled or sent together that must not be."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lockstream_server.core.model import EntryRecord
from lockstream_server.store.batch import EntryId, Planner, Ticket, check_batch
from lockstream_server.store.port import Attachment, DeleteEntry, DeleteSession, Proposal, PutEntry

ATTACHMENTS = {session: Attachment(session, 1) for session in range(1, 4)}


class Proposals(RuleBasedStateMachine):
    """Adds, takes and settles at random."""

    @initialize(limit=st.integers(1, 6))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.planner = Planner(limit)
        self.waiting: list[Ticket] = []
        self.in_flight: list[Ticket] = []

    @rule(
        kind=st.sampled_from(["put", "put", "delete", "session"]),
        name=st.sampled_from("abc"),
        session=st.sampled_from(sorted(ATTACHMENTS)),
        slot=st.integers(0, 1),
    )
    def add(self, kind: str, name: str, session: int, slot: int) -> None:
        attachment = ATTACHMENTS[session]
        proposal: Proposal = DeleteSession(attachment)
        if kind == "put":
            proposal = PutEntry(attachment, name, slot, EntryRecord(1), only_if_free=False)
        elif kind == "delete":
            proposal = DeleteEntry(attachment, name, slot, None)
        ticket = Ticket(proposal, lambda _: None)
        self.planner.add(ticket)
        self.waiting.append(ticket)

    @rule()
    def take(self) -> None:
        batch = self.planner.take()
        assert len(batch) <= self.limit
        check_batch(batch)
        for ticket in batch:
            entry = ticket.entry
            assert entry is None or entry not in self.entries_in_flight(), "one proposal of an entry at a time"
            assert self.first_of(entry) in (None, ticket), "proposals of an entry go in the order they came in"
            self.waiting = [other for other in self.waiting if other is not ticket]
            self.in_flight.append(ticket)
        if not self.in_flight:
            assert not self.waiting, "with nothing in flight, something can always go"

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        ticket = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        self.planner.settled(ticket)

    def entries_in_flight(self) -> set[EntryId | None]:
        return {ticket.entry for ticket in self.in_flight}

    def first_of(self, entry: EntryId | None) -> Ticket | None:
        """The first that waits for this entry."""
        if entry is None:
            return None
        return next(ticket for ticket in self.waiting if ticket.entry == entry)

    @invariant()
    def every_proposal_is_accounted_for(self) -> None:
        assert len(self.planner) == len(self.waiting)

    def teardown(self) -> None:
        """Everything goes in the end, within as many rounds as there are proposals."""
        for _ in range(len(self.waiting) + 1):
            while self.in_flight:
                self.planner.settled(self.in_flight.pop())
            self.take()
        assert not self.waiting
        assert not self.planner.ready


class Fairness(RuleBasedStateMachine):
    """Nobody is overtaken without end: creations of one name go in the order they came in."""

    @initialize()
    def begin(self) -> None:
        self.planner = Planner(2)
        self.count = 0
        self.waiting: dict[str, list[int]] = {"a": [], "b": []}

    @rule(name=st.sampled_from("ab"))
    def add(self, name: str) -> None:
        self.count += 1
        proposal = PutEntry(Attachment(self.count, 1), name, 1, EntryRecord(1), only_if_free=False)
        self.planner.add(Ticket(proposal, lambda _: None))
        self.waiting[name].append(self.count)

    @rule()
    def take(self) -> None:
        taken = self.planner.take()
        for ticket in taken:
            assert isinstance(ticket.proposal, PutEntry)
            assert self.waiting[ticket.proposal.name].pop(0) == ticket.proposal.attachment.session
        names = {ticket.creates for ticket in taken}
        # Each name with anything to say is heard in every transaction that has room for all of them.
        assert len(taken) == len(names)
        assert len(taken) == 2 or not any(self.waiting[name] for name in self.waiting if name not in names)


TestProposals = Proposals.TestCase
TestFairness = Fairness.TestCase
