"""A few servers in virtual time, whose every message arrives when the scenario says so."""

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from lockstream_server.store.port import Proposal, Verdict
from tests.support.controlled_store import Sent
from tests.support.players import Stream, World


class SmallWorld(World):
    """Its proposals are addressed by their kind: there is one of each kind on its way at a time."""

    def client(self, server: int = 0) -> Stream:
        """A client whose session is attached to that server."""
        stream = self.open(server)
        self.quiesce()
        assert stream.state == "attached"
        return stream

    def sent(self, kind: type[Proposal], server: int = 0) -> Sent:
        """The proposal of this kind, or its outcome, that is on its way."""
        [sent] = [sent for sent in self.stores[server].sent if isinstance(sent.proposal, kind)]
        return sent

    def commit(self, kind: type[Proposal], server: int = 0) -> None:
        """The proposal reaches the store; its outcome is on the way back."""
        self.do(self.stores[server].commit, self.sent(kind, server))

    def answer(self, kind: type[Proposal], server: int = 0) -> None:
        """Its outcome arrives."""
        self.do(self.stores[server].tell, self.sent(kind, server))

    def repeat(self, kind: type[Proposal], server: int = 0) -> None:
        """The proposal reaches the store, its answer is lost, and it will be repeated."""
        self.do(self.stores[server].commit_unheard, self.sent(kind, server))

    def turn_down(self, kind: type[Proposal], verdict: Verdict, server: int = 0) -> None:
        """The store does not take this attempt, and that is heard."""
        sent = self.sent(kind, server)
        self.do(self.stores[server].turn_down, sent, verdict)
        self.do(self.stores[server].tell, sent)

    def lose(self, kind: type[Proposal], server: int = 0) -> None:
        """The first attempt is taken for lost and will be repeated, but it is still on its way."""
        self.stores[server].stray(self.sent(kind, server))

    def land(self, server: int = 0) -> None:
        """That first attempt reaches the store after all."""
        [stray] = self.stores[server].strays
        self.do(self.stores[server].land, stray)

    def catch_up(self, server: int = 0) -> None:
        """The server folds everything that has happened."""
        while self.stores[server].held_back:
            self.do(self.stores[server].feed)

    def serve(self, server: int) -> None:
        """Everything on its way to and from that server arrives; the others hear nothing."""
        while self.do(self.stores[server].move):
            pass

    def pass_time(self, seconds: float) -> None:
        """So much time passes, in which nothing arrives but leases and renewals."""
        self.loop.advance(seconds)
        self.do(lambda: None)  # which tells of what went wrong

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something that takes several steps, and let it come to where it needs the store's answer."""
        self.do(lambda: self.spawn(work))
        self.loop.advance(0.01)

    def keys(self, name: str) -> list[str]:
        """The keys of the lock's entries in the store."""
        return [put.key for put in self.do(self.truth.read_lock, name).entries]


@contextmanager
def small_world(servers: int = 1) -> Iterator[SmallWorld]:
    """So many servers around one store."""
    world = SmallWorld(servers)
    try:
        yield world
    except BaseException:
        world.defects = []  # they are told already
        raise
    finally:
        world.close()
