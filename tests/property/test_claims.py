"""Sessions on several servers, with every interleaving of outcomes, revisions, repeats and time.

What each client may be told is checked where it is told, in `tests.support.players`. What must be true when nothing is
under way is checked here, after every run and now and then within one.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from lockstream_server.core.changes import EntryPut
from lockstream_server.core.errors import LockError
from lockstream_server.core.messages import (
    NO_WAIT,
    Acquire,
    AcquireAll,
    AcquirePart,
    Cancel,
    Close,
    Downgrade,
    Release,
    RequestYield,
    SetValue,
    Upgrade,
)
from lockstream_server.core.model import PLAIN, Mode, Terms
from lockstream_server.sessions.operator import Operator
from lockstream_server.sessions.outcomes import RETRY_SECONDS
from lockstream_server.sessions.session import RENEWALS_PER_TTL
from lockstream_server.store.port import CreateSession, DeleteEntry, DeleteSession, Verdict
from tests.support.controlled_store import ControlledStore, Sent
from tests.support.players import TTL, Hold, Stream, World

T = TypeVar("T")
Rule = TypeVar("Rule", bound=Callable[..., None])

SERVERS = 2
NAMES = ["a", "b"]
PICK = st.integers(0, 99)
SERVER = st.integers(0, SERVERS - 1)
NAME = st.sampled_from(NAMES)
WAIT = st.sampled_from([None, None, NO_WAIT, 0.5, 3.0])
OWNER = st.sampled_from(["", "other", "task"])
EXCLUSIVE = (Mode.EXCLUSIVE, PLAIN)
ASKED = st.sampled_from(
    [
        EXCLUSIVE,
        EXCLUSIVE,
        (Mode.SHARED, PLAIN),
        (Mode.SHARED, PLAIN),
        (Mode.PERMITS, Terms(permits=1, limit=2)),
        (Mode.PERMITS, Terms(permits=2, limit=2)),
        (Mode.PERMITS, Terms(permits=1, limit=3)),
    ]
)
DELAYED = Terms(lock_delay=1.5)
HELD_FOR = st.sampled_from([PLAIN, DELAYED, DELAYED, Terms(max_hold=2.0, yield_notice=0.5)])


def where(what: Callable[[ControlledStore], Collection[object]]) -> Callable[[Rule], Rule]:
    """A rule for when there is such a thing on the way to or from some server; without one it would be a step lost."""
    return precondition(lambda machine: any(what(store) for store in machine.world.stores))


def can_be_turned_down(store: ControlledStore, verdict: Verdict) -> list[Sent]:
    """Deletions need no space. An open that fails is over, and shows nothing more."""
    spared = (CreateSession, DeleteEntry, DeleteSession) if verdict is Verdict.NO_SPACE else CreateSession
    return [sent for sent in store.uncommitted() if not isinstance(sent.proposal, spared)]


class Clients(RuleBasedStateMachine):
    """Two servers, two names, a few sessions."""

    @initialize(sessions=st.integers(2, 4))
    def begin(self, sessions: int) -> None:
        self.world = World(SERVERS)
        self.acquires = 0
        self.requests: list[tuple[int, Acquire | AcquireAll]] = []
        self.disturbed = False
        """Whether there may be something that is tried again, or noticed, only after a while."""
        for number in range(sessions):
            self.world.open(number % SERVERS)
        self.world.quiesce()
        assert all(stream.state == "attached" for stream in self.world.streams)

    def attached(self) -> list[Stream]:
        return [stream for stream in self.world.streams if stream.state == "attached"]

    # What clients do.

    @precondition(lambda self: len(self.attached()) < 5)
    @rule(server=SERVER, grace=st.sampled_from([None, 0.0, 1.0]))
    def open(self, server: int, grace: float | None) -> None:
        self.world.open(server, grace=grace)

    @precondition(lambda self: self.attached())
    @rule(pick=PICK, name=NAME, asked=ASKED, held_for=HELD_FOR, owner=OWNER, wait=WAIT)
    def acquire(
        self, pick: int, name: str, asked: tuple[Mode, Terms], held_for: Terms, owner: str, wait: float | None
    ) -> None:
        mode, terms = asked if asked != EXCLUSIVE else (Mode.EXCLUSIVE, held_for)
        self.ask_for(pick, Acquire(self.number(), name, mode, owner, wait, terms))

    @precondition(lambda self: self.attached())
    @rule(pick=PICK, asked=st.tuples(ASKED, ASKED), owner=OWNER, wait=WAIT)
    def acquire_all(self, pick: int, asked: tuple[tuple[Mode, Terms], ...], owner: str, wait: float | None) -> None:
        parts = [
            AcquirePart(name, mode, terms._replace(parts=len(asked)))
            for name, (mode, terms) in zip(NAMES, asked, strict=True)
        ]
        self.ask_for(pick, AcquireAll(self.number(), parts, owner, wait))

    def number(self) -> int:
        self.acquires += 1
        return self.acquires

    def ask_for(self, pick: int, request: Acquire | AcquireAll) -> None:
        stream = self.attached()[pick % len(self.attached())]
        self.requests.append((stream.session, request))
        self.world.do(stream.ask, request)

    @precondition(lambda self: self.requests and self.attached())
    @rule(pick=PICK, wait=WAIT)
    def acquire_again(self, pick: int, wait: float | None) -> None:
        session, request = self.requests[pick % len(self.requests)]
        streams = [stream for stream in self.attached() if stream.session == session]
        pending = {getattr(asked, "acquire", 0) for each in streams for asked in each.asked.values()}
        alive = pending.union(*({*each.held, *each.queued} for each in streams))
        if streams and request.acquire not in alive:
            self.world.do(streams[pick % len(streams)].ask, request._replace(wait=wait))

    # What they do with a hold.

    def a_hold(self, pick: int, *modes: Mode) -> tuple[Stream, int, Hold] | None:
        """One of the holds of a single lock in these modes."""
        held = [
            (stream, acquire, hold)
            for stream in self.attached()
            for acquire, hold in stream.held.items()
            if len(hold.parts) == 1 and hold.mode in modes
        ]
        return held[pick % len(held)] if held else None

    @precondition(lambda self: self.a_hold(0, Mode.SHARED))
    @rule(pick=PICK, wait=WAIT)
    def upgrade(self, pick: int, wait: float | None) -> None:
        if chosen := self.a_hold(pick, Mode.SHARED):
            stream, shared, hold = chosen
            self.world.do(stream.ask, Upgrade(self.number(), shared, hold.token, wait))

    @precondition(lambda self: self.a_hold(0, Mode.EXCLUSIVE, Mode.UPGRADE))
    @rule(pick=PICK)
    def downgrade(self, pick: int) -> None:
        if chosen := self.a_hold(pick, Mode.EXCLUSIVE, Mode.UPGRADE):
            stream, acquire, hold = chosen
            if not hold.parts[hold.name].terms.lock_delay:
                self.world.do(stream.ask, Downgrade(acquire, hold.token))

    @precondition(lambda self: self.a_hold(0, *Mode))
    @rule(pick=PICK, value=st.binary(max_size=1))
    def set_value(self, pick: int, value: bytes) -> None:
        if chosen := self.a_hold(pick, *Mode):
            stream, acquire, hold = chosen
            self.world.do(stream.ask, SetValue(acquire, hold.token, value, {}))

    @precondition(lambda self: any(stream.queued for stream in self.attached()))
    @rule(pick=PICK)
    def request_yield(self, pick: int) -> None:
        queued = [(stream, acquire) for stream in self.attached() for acquire in stream.queued]
        stream, acquire = queued[pick % len(queued)]
        self.world.do(stream.ask, RequestYield(acquire))

    @precondition(lambda self: any(stream.held for stream in self.attached()))
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        held = [(stream, acquire) for stream in self.attached() for acquire in stream.held]
        stream, acquire = held[pick % len(held)]
        self.world.do(stream.ask, Release(acquire, stream.held[acquire].token))

    @precondition(lambda self: any(stream.parts for stream in self.attached()))
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        known = [(stream, acquire) for stream in self.attached() for acquire in stream.parts]
        stream, acquire = known[pick % len(known)]
        self.world.do(stream.ask, Cancel(acquire))

    @precondition(lambda self: self.attached())
    @rule(pick=PICK, how=st.sampled_from(["close", "cut", "cut", "overtake"]), server=SERVER)
    def leave(self, pick: int, how: str, server: int) -> None:
        stream = self.attached()[pick % len(self.attached())]
        match how:
            case "close":
                self.world.do(stream.ask, Close())
            case "cut":
                self.world.do(stream.cut)
            case _:
                self.world.resume(stream, server)

    @precondition(lambda self: any(stream.state == "cut" for stream in self.world.streams))
    @rule(pick=PICK, server=SERVER)
    def resume(self, pick: int, server: int) -> None:
        cut = [stream for stream in self.world.streams if stream.state == "cut"]
        stream = cut[pick % len(cut)]
        stream.state = "over"
        self.world.resume(stream, server)

    # What arrives next.

    def one_of(self, what: Callable[[ControlledStore], list[T]], pick: int) -> tuple[ControlledStore, T] | None:
        choices = [(store, thing) for store in self.world.stores for thing in what(store)]
        return choices[pick % len(choices)] if choices else None

    @where(ControlledStore.uncommitted)
    @rule(pick=PICK)
    def commit(self, pick: int) -> None:
        if chosen := self.one_of(ControlledStore.uncommitted, pick):
            self.world.do(chosen[0].commit, chosen[1])

    @where(ControlledStore.untold)
    @rule(pick=PICK)
    def tell(self, pick: int) -> None:
        if chosen := self.one_of(ControlledStore.untold, pick):
            self.world.do(chosen[0].tell, chosen[1])

    @where(ControlledStore.uncommitted)
    @rule(pick=PICK, land=st.booleans())
    def lose_an_answer_or_a_request(self, pick: int, land: bool) -> None:
        if chosen := self.one_of(ControlledStore.uncommitted, pick):
            self.world.do(chosen[0].commit_unheard if land else chosen[0].stray, chosen[1])

    @where(lambda store: can_be_turned_down(store, Verdict.FAILED))
    @rule(pick=PICK, verdict=st.sampled_from([Verdict.NO_SPACE, Verdict.FAILED]))
    def turn_down(self, pick: int, verdict: Verdict) -> None:
        if chosen := self.one_of(lambda store: can_be_turned_down(store, verdict), pick):
            self.disturbed = True
            self.world.do(chosen[0].turn_down, chosen[1], verdict)

    @rule(server=SERVER, none=st.booleans())
    def grant_no_leases(self, server: int, none: bool) -> None:
        self.disturbed = True
        self.world.stores[server].no_leases = none

    @where(lambda store: store.strays)
    @rule(pick=PICK)
    def land(self, pick: int) -> None:
        if chosen := self.one_of(lambda store: list(store.strays), pick):
            self.world.do(chosen[0].land, chosen[1])

    @where(lambda store: store.held_back)
    @rule(server=SERVER, most=st.integers(1, 4))
    def feed(self, server: int, most: int) -> None:
        store = self.world.stores[server]
        for _ in range(min(most, len(store.held_back))):
            self.world.do(store.feed)

    @rule(server=SERVER)
    def flow(self, server: int) -> None:
        self.world.do(self.world.stores[server].move)

    @rule(server=SERVER)
    def break_feed(self, server: int) -> None:
        self.world.do(self.world.stores[server].break_feed)

    @rule(server=SERVER, hold=st.booleans())
    def silence(self, server: int, hold: bool) -> None:
        store = self.world.stores[server]
        if hold:
            store.hold_confirms = True
        else:
            self.world.do(store.confirm)

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.0, 2.0, 3.5]))
    def time_passes(self, seconds: float) -> None:
        self.world.loop.advance(seconds)
        self.world.do(lambda: None)

    @rule(name=st.sampled_from(NAMES), pick=PICK)
    def delete_behind_their_backs(self, name: str, pick: int) -> None:
        entries = self.world.do(self.world.truth.read_lock, name).entries
        if entries:
            entry = entries[pick % len(entries)]
            self.world.deleted.add(entry.token)
            self.world.do(self.world.truth.delete_entry, name, entry.key)

    @rule(pick=PICK)
    def end_a_lease_early(self, pick: int) -> None:
        """As a leader of etcd does that was frozen; its session loses what it has, and nobody has it too soon."""
        sessions = self.world.truth.sessions()
        if sessions:
            self.world.do(self.world.truth.revoke_lease, sessions[pick % len(sessions)])

    @rule(name=NAME, server=SERVER)
    def break_a_lock(self, name: str, server: int) -> None:
        operator = Operator(self.world.registries[server].host, "it is in the way", "somebody")

        async def force_release() -> None:
            with suppress(LockError):
                await operator.force_release(name, None)

        self.world.do(lambda: self.world.spawn(force_release()))

    # What must be true when nothing is under way.

    def settle(self) -> None:
        """Let everything through, with what is tried again."""
        for store in self.world.stores:
            store.no_leases = False
        self.world.quiesce()
        if self.disturbed:
            self.disturbed = False
            self.world.loop.advance(TTL / RENEWALS_PER_TTL + RETRY_SECONDS)
            self.world.quiesce()

    @rule()
    def quiesce(self) -> None:
        world = self.world
        self.settle()
        entries: dict[tuple[int, int], list[EntryPut]] = {}
        for name in NAMES:
            for put in world.do(world.truth.read_lock, name).entries:
                entries.setdefault((put.session or 0, put.record.acquire), []).append(put)
        table, other = (registry.host.table for registry in world.registries)
        assert table.revision == other.revision
        assert {name: repr(queue) for name, queue in table.locks.items()} == {
            name: repr(queue) for name, queue in other.locks.items()
        }
        there = {(entry.name, entry.key): entry for queue in table.locks.values() for entry in queue.entries}
        granted = {place for place, entry in there.items() if entry.granted}
        for stream in self.attached():
            assert not stream.asked, f"never answered: {stream.asked}"
            own = {acquire: puts for (session, acquire), puts in entries.items() if session == stream.session}
            assert {*own} == {*stream.held, *stream.queued}, f"{stream} but in the store {own}"
            for acquire, puts in own.items():
                assert {put.name for put in puts} == {*stream.parts[acquire]}
                held = all((put.name, put.key) in granted for put in puts)
                assert (acquire in stream.held) is held, f"{stream} {puts}"
                for put in puts:
                    value = put.record.terms.value
                    assert value == world.said.get(put.token, value), "what was set last stands"
        assert "left" not in repr([session.claims for r in world.registries for session in r.sessions.values()])

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            # Whatever is stray lands at last, everything that can end by itself does, and nothing is left over.
            for store in self.world.stores:
                for proposal in list(store.strays):
                    self.world.do(store.land, proposal)
            self.quiesce()
            for stream in self.attached():
                self.world.do(stream.ask, Close())
            self.world.quiesce()
            for _ in range(3):
                self.world.loop.advance(4)
                self.world.quiesce()
            assert not [name for name in NAMES if self.world.do(self.world.truth.read_lock, name).entries]
            assert not any(registry.sessions for registry in self.world.registries)
        finally:
            self.world.close()


TestClients = Clients.TestCase
