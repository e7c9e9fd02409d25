"""The planner: whatever comes in whatever order, nothing is lost, doubled or sent together that must not be."""

from collections import Counter
from collections.abc import Hashable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lockstream_server.core.model import EntryRecord
from lockstream_server.store.batch import Planner, Ticket
from lockstream_server.store.keys import entry_id, eviction_id
from lockstream_server.store.port import (
    MAX_PARTS,
    Attachment,
    DeleteEntry,
    DeleteSession,
    Evict,
    EvictSession,
    Part,
    Proposal,
    PutEntries,
    PutEntry,
    RewriteEntry,
)
from tests.support.history import eviction, session_eviction

ATTACHMENTS = {session: Attachment(session, 1) for session in range(1, 4)}
NAMES = ["a", "b", "c"]
RECORD = EntryRecord(1)
FOREIGN_KEY = "694d"

SESSIONS = st.sampled_from(sorted(ATTACHMENTS))
NAME = st.sampled_from(NAMES)
SLOTS = st.integers(0, 1)
KEYS = st.builds(entry_id, SESSIONS, SLOTS)
ENTRIES = st.tuples(SESSIONS.map(ATTACHMENTS.__getitem__), NAME, SLOTS)
SINGLE = st.one_of(
    ENTRIES.map(lambda entry: PutEntry(*entry, RECORD, only_if_free=False)),
    ENTRIES.map(lambda entry: DeleteEntry(*entry, 1)),
    ENTRIES.map(lambda entry: RewriteEntry(*entry, 1, 1, RECORD)),
    SESSIONS.map(lambda session: DeleteSession(ATTACHMENTS[session])),
    SESSIONS.map(lambda session: EvictSession(session, 1, session_eviction(session), 99)),
    st.builds(
        lambda name, key, session: Evict(name, key, 1, eviction(name, session, 1) if session else None, 99),
        NAME,
        st.one_of(KEYS, st.just(FOREIGN_KEY)),
        st.integers(0, 2),
    ),
)
SEVERAL = st.builds(
    lambda session, slot, names: PutEntries(ATTACHMENTS[session], [Part(name, slot, RECORD) for name in names], False),
    SESSIONS,
    SLOTS,
    st.lists(NAME, min_size=1, unique=True),
)


class ManyParts(tuple[Part, ...]):
    """More parts than anybody wants to read in the report of a failure."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} parts>"


MANY = PutEntries(
    ATTACHMENTS[1], ManyParts(Part(f"name-{number}", 0, RECORD) for number in range(MAX_PARTS)), only_if_free=False
)


def written(proposal: Proposal) -> set[Hashable]:
    """The keys that a proposal writes, but for session records, which are compared for what they were."""
    match proposal:
        case (
            PutEntry(attachment, name, slot)
            | RewriteEntry(attachment, name, slot)
            | DeleteEntry(attachment, name, slot)
        ):
            return {(name, entry_id(attachment.session, slot))}
        case PutEntries(attachment, parts):
            return {(part.name, entry_id(attachment.session, part.slot)) for part in parts}
        case Evict(name, key, _, record):
            return {(name, key), *([eviction_id(record)] if record is not None else [])}
        case EvictSession(_, _, record):
            return {eviction_id(record)}
        case _:
            return set()


def created(proposal: Proposal) -> list[str]:
    """The names in which it creates an entry whose grant depends on what else is there."""
    match proposal:
        case PutEntry(_, name):
            return [name]
        case PutEntries(_, parts):
            return [part.name for part in parts]
        case _:
            return []


def size(proposal: Proposal) -> int:
    """The most operations, or compares, of its own transaction."""
    match proposal:
        case PutEntries():
            return len(proposal.parts) + 1  # the guard of the session and the parts
        case RewriteEntry():
            return 3  # the guard of the session, the creation and the last write
        case _:
            return 2


class Proposals(RuleBasedStateMachine):
    """Adds, takes and settles at random."""

    @initialize(limit=st.integers(1, 6))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.planner = Planner(limit)
        self.waiting: list[Ticket] = []
        self.in_flight: list[Ticket] = []

    @rule(proposals=st.lists(st.one_of(SINGLE, SINGLE, SEVERAL, st.just(MANY)), min_size=1, max_size=8))
    def add(self, proposals: list[Proposal]) -> None:
        for proposal in proposals:
            ticket = Ticket(proposal, lambda _: None)
            self.planner.add(ticket)
            self.waiting.append(ticket)

    @rule()
    def take(self) -> None:
        batch = self.planner.take()
        together = Counter(name for ticket in batch for name in created(ticket.proposal))
        assert not [name for name, times in together.items() if times > 1], "one creation of a name at a time"
        largest = max((size(ticket.proposal) for ticket in batch), default=0)
        assert len(batch) == 1 or len(batch) + largest <= self.limit + 2, "no more than etcd takes"
        for ticket in batch:
            keys = written(ticket.proposal)
            flying = {key for other in self.in_flight for key in written(other.proposal)}
            assert flying.isdisjoint(keys), "one proposal of a key at a time"
            before = self.waiting[: self.waiting.index(ticket)]
            assert all(keys.isdisjoint(written(other.proposal)) for other in before), "in the order they came in"
            names = {*created(ticket.proposal)}
            assert all(names.isdisjoint(created(other.proposal)) for other in before if other not in batch)
            self.waiting.remove(ticket)
            self.in_flight.append(ticket)
        if not self.in_flight:
            assert not self.waiting, "with nothing in flight, something can always go"

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        ticket = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        self.planner.settled(ticket)

    @invariant()
    def every_proposal_is_accounted_for(self) -> None:
        assert len(self.planner) == len(self.waiting)

    def teardown(self) -> None:
        """Everything goes in the end, within as many rounds as there are proposals, and leaves nothing behind."""
        for _ in range(len(self.waiting) + 1):
            while self.in_flight:
                self.planner.settled(self.in_flight.pop())
            self.take()
        assert not self.waiting
        assert repr(self.planner) == "Planner(waiting=0, ready=0, lanes=0)"


class Fairness(RuleBasedStateMachine):
    """Nobody is overtaken: with room for all, those go, and only those, who are first on all of their names."""

    @initialize()
    def begin(self) -> None:
        self.planner = Planner(120)
        self.count = 0
        self.waiting: dict[int, str] = {}

    @rule(names=st.sampled_from(["a", "b", "c", "ab", "bc", "abc"]))
    def add(self, names: str) -> None:
        self.count += 1
        attachment = Attachment(self.count, 1)
        proposal: Proposal = PutEntry(attachment, names, 1, RECORD, only_if_free=False)
        if len(names) > 1:
            proposal = PutEntries(attachment, [Part(name, 1, RECORD) for name in names], only_if_free=False)
        self.planner.add(Ticket(proposal, lambda _: None))
        self.waiting[self.count] = names

    @rule()
    def take(self) -> None:
        first = {name: next((number for number, names in self.waiting.items() if name in names), 0) for name in "abc"}
        expected = {number for number, names in self.waiting.items() if all(first[name] == number for name in names)}
        taken = set()
        for ticket in self.planner.take():
            assert isinstance(ticket.proposal, PutEntry | PutEntries)
            taken.add(ticket.proposal.attachment.session)
        assert taken == expected
        for number in taken:
            del self.waiting[number]


TestProposals = Proposals.TestCase
TestFairness = Fairness.TestCase
