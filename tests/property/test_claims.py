"""Sessions on several servers, with every interleaving of outcomes, revisions, repeats and time.

What each client may be told is checked where it is told, in `tests.support.players`. What must be true when nothing is
under way is checked here, after every run and now and then within one.
"""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from lockstream_server.core.messages import NO_WAIT, Acquire, Cancel, Close, Release
from lockstream_server.core.model import Mode
from lockstream_server.store.port import PutEntry
from tests.support.controlled_store import ControlledStore
from tests.support.players import Stream, World

T = TypeVar("T")

SERVERS = 2
NAMES = ["a", "b"]
PICK = st.integers(0, 99)
SERVER = st.integers(0, SERVERS - 1)


class Clients(RuleBasedStateMachine):
    """Two servers, two names, a few sessions."""

    @initialize(sessions=st.integers(2, 4))
    def begin(self, sessions: int) -> None:
        self.world = World(SERVERS)
        self.acquires = 0
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
    @rule(
        pick=PICK,
        name=st.sampled_from(NAMES),
        mode=st.sampled_from(Mode),
        owner=st.sampled_from(["", "other"]),
        wait=st.sampled_from([None, None, NO_WAIT, 0.5, 3.0]),
        again=st.booleans(),
    )
    def acquire(self, pick: int, name: str, mode: Mode, owner: str, wait: float | None, again: bool) -> None:
        stream = self.attached()[pick % len(self.attached())]
        reusable = [number for number in stream.names if number not in stream.held and number not in stream.queued]
        if again and reusable:
            number = reusable[pick % len(reusable)]
            if any(isinstance(asked, Acquire) and asked.acquire == number for asked in stream.asked.values()):
                return
        else:
            self.acquires += 1
            number = self.acquires
        self.world.do(stream.ask, Acquire(number, name, mode, owner, wait))

    @precondition(lambda self: any(stream.held for stream in self.attached()))
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        held = [(stream, acquire) for stream in self.attached() for acquire in stream.held]
        stream, acquire = held[pick % len(held)]
        self.world.do(stream.ask, Release(acquire, stream.held[acquire][2]))

    @precondition(lambda self: any(stream.names for stream in self.attached()))
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        known = [(stream, acquire) for stream in self.attached() for acquire in stream.names]
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

    @rule(pick=PICK)
    def commit(self, pick: int) -> None:
        if chosen := self.one_of(ControlledStore.uncommitted, pick):
            self.world.do(chosen[0].commit, chosen[1])

    @rule(pick=PICK)
    def tell(self, pick: int) -> None:
        if chosen := self.one_of(ControlledStore.untold, pick):
            self.world.do(chosen[0].tell, chosen[1])

    @rule(pick=PICK, land=st.booleans())
    def lose_an_answer_or_a_request(self, pick: int, land: bool) -> None:
        if chosen := self.one_of(ControlledStore.uncommitted, pick):
            self.world.do(chosen[0].commit_unheard if land else chosen[0].stray, chosen[1])

    @rule(pick=PICK)
    def land(self, pick: int) -> None:
        if chosen := self.one_of(lambda store: list(store.strays), pick):
            self.world.do(chosen[0].land, chosen[1])

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

    # What must be true when nothing is under way.

    @rule()
    def quiesce(self) -> None:
        world = self.world
        world.quiesce()
        entries = {
            (put.session, put.record.acquire): put
            for name in NAMES
            for put in world.do(world.truth.read_lock, name).entries
        }
        granted = {
            (entry.session, entry.record.acquire)
            for queue in world.registries[0].host.table.locks.values()
            for entry in queue.entries
            if entry.granted
        }
        assert repr(world.registries[0].host.table) == repr(world.registries[1].host.table)
        for stream in self.attached():
            assert not stream.asked, f"never answered: {stream.asked}"
            own = {acquire: put for (session, acquire), put in entries.items() if session == stream.session}
            assert set(own) == {*stream.held, *stream.queued}, f"{stream} but in the store {own}"
            for acquire, put in own.items():
                assert (acquire in stream.held) is ((stream.session, acquire) in granted), f"{stream} {put}"
        assert "left" not in repr([session.claims for r in world.registries for session in r.sessions.values()])

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            # Whatever is stray lands at last, everything that can end by itself does, and nothing is left over.
            for store in self.world.stores:
                for proposal in list(store.strays):
                    assert isinstance(proposal, PutEntry)
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
