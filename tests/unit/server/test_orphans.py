"""When what a session leaves behind is freed: by how it ended, and whether it held with a lock delay."""

from collections.abc import Sequence
from itertools import count

import pytest

from lockstream_server.core.errors import LockError
from lockstream_server.core.messages import Acquire, Close
from lockstream_server.core.model import Mode, Terms
from lockstream_server.core.table import Table
from lockstream_server.sessions.host import Bounds, Host
from lockstream_server.sessions.operator import Operator
from lockstream_server.sessions.outcomes import RETRY_SECONDS
from lockstream_server.sessions.registry import Registry
from lockstream_server.store.port import Evict, EvictSession, Verdict
from tests.support.controlled_store import ControlledStore
from tests.support.players import TTL, Stream, World

SERVERS = 2
DELAY = 20.0
STEP = 0.1
"""Seconds between two looks."""


@pytest.fixture
def client(world: World) -> Stream:
    """A client of the first server that holds "plain" and, with a delay, "delayed"."""
    client = world.open(0, grace=1.0)
    world.quiesce()
    ask(world, client, 1, "plain")
    ask(world, client, 2, "delayed", DELAY)
    assert {*client.held} == {1, 2}
    return client


def ask(world: World, client: Stream, acquire: int, name: str, delay: float = 0.0) -> None:
    world.do(client.ask, Acquire(acquire, name, Mode.EXCLUSIVE, "", None, Terms(lock_delay=delay)))
    world.quiesce()


def taken(world: World, name: str) -> bool:
    return bool(world.do(world.truth.read_lock, name).entries)


def freed_after(world: World, names: Sequence[str] = ("plain", "delayed"), seconds: float = 60.0) -> list[float]:
    """The seconds until each is free, while everything arrives at once; infinity for what is not free by then."""
    found = dict.fromkeys(names, float("inf"))
    began = world.loop.time()
    while world.loop.time() < began + seconds and float("inf") in found.values():
        world.quiesce()
        for name in names:
            if found[name] == float("inf") and not taken(world, name):
                found[name] = world.loop.time() - began
        world.loop.advance(STEP)
    return [*found.values()]


def about(seconds: float) -> object:
    """Not sooner than that, and little later."""
    return pytest.approx(seconds + 0.5, abs=0.5)


def test_the_entries_of_a_lost_session_stay_while_its_client_can_believe_in_them(world: World, client: Stream) -> None:
    """Those held with a delay for as long after that as they asked."""
    world.do(world.truth.revoke_lease, client.session)
    proven = world.registries[0].sessions[client.session].proven
    assert 0 < proven <= TTL
    assert freed_after(world) == [about(proven), about(proven + DELAY)]


def test_a_server_that_ends_a_session_frees_its_entries_at_once_but_for_the_delays(
    world: World, client: Stream
) -> None:
    world.do(client.cut)
    grace = 1.0
    assert freed_after(world) == [about(grace), about(grace + DELAY)]
    assert not world.truth.sessions()


def test_a_close_frees_everything_at_once(world: World, client: Stream) -> None:
    world.do(client.ask, Close())
    world.quiesce()
    assert client.state == "over"
    assert freed_after(world) == [about(0), about(0)]


def test_an_operator_who_ends_a_session_does_not_wait_for_the_delays(world: World, client: Stream) -> None:
    operator, done = Operator(world.registries[1].host, "it is in the way", "ada"), []

    async def end_session() -> None:
        await operator.end_session(client.session)
        done.append(world.loop.time())

    began = world.loop.time()
    world.do(lambda: world.spawn(end_session()))
    assert freed_after(world) == [about(0), about(DELAY)]
    assert done == [about(began)]


def test_an_operator_whose_wish_comes_too_late_frees_nothing_early(world: World, client: Stream) -> None:
    """The session has ended by itself meanwhile, and its client can believe in what it holds."""
    operator = Operator(world.registries[1].host, "it is in the way", "ada")

    async def end_session() -> None:
        with pytest.raises(LockError, match="there is no session"):
            await operator.end_session(client.session)

    world.do(lambda: world.spawn(end_session()))
    world.loop.advance(STEP)
    assert [type(sent.proposal) for sent in world.stores[1].sent] == [EvictSession]
    world.do(world.truth.revoke_lease, client.session)
    proven = world.registries[0].sessions[client.session].proven
    assert freed_after(world) == [about(proven), about(proven + DELAY)]


def test_what_is_broken_by_an_operator_has_no_delay_any_more(world: World, client: Stream) -> None:
    world.do(client.cut)
    world.loop.advance(2.0)
    world.quiesce()
    assert (taken(world, "plain"), taken(world, "delayed")) == (False, True)
    operator = Operator(world.registries[1].host, "it is in the way", "ada")

    async def force_release() -> None:
        await operator.force_release("delayed", None)

    world.do(lambda: world.spawn(force_release()))
    assert freed_after(world) == [about(0), about(0)]


def test_a_waiter_delays_nothing_though_it_is_granted_before_it_is_freed(world: World) -> None:
    """Nobody was told so."""
    holder, lost = world.open(1), world.open(0)
    world.quiesce()
    ask(world, holder, 1, "a")
    ask(world, lost, 2, "a", DELAY)
    world.do(world.truth.revoke_lease, lost.session)
    world.quiesce()
    world.do(holder.ask, Close())
    world.quiesce()
    [entry] = world.registries[0].host.table.locks["a"].entries
    assert (entry.session, entry.granted) == (lost.session, True)
    assert freed_after(world, ["a"]) == [about(TTL - 0.5)]


def test_a_server_that_starts_late_frees_what_it_finds(world: World, client: Stream) -> None:
    """It knows neither when the session ended nor for how long its client may believe in what it has."""
    for store, registry in zip(world.stores, world.registries, strict=True):
        world.do(registry.close)
        world.do(store.stop)
    world.do(world.truth.revoke_lease, client.session)
    tokens = count(1)
    store = ControlledStore(world.truth)
    registry = Registry(
        Host("late", store, Table(), Bounds(), world.loop.time), new_token=lambda: f"late-{next(tokens)}"
    )
    world.stores, world.registries = [store], [registry]
    world.do(store.start, registry)
    assert freed_after(world) == [about(TTL), about(TTL + DELAY)]


def test_the_others_free_what_a_server_has_left_undone(world: World, client: Stream) -> None:
    """It had ended the session; they wait as they do when it ended by itself."""
    world.do(client.cut)
    world.loop.advance(1.5)
    world.quiesce()
    assert (taken(world, "plain"), taken(world, "delayed")) == (False, True)
    world.do(world.registries[0].close)
    assert freed_after(world) == [about(0), about(TTL + DELAY - 0.5)]


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.NO_SPACE])
def test_a_deletion_that_etcd_refuses_is_tried_again(world: World, client: Stream, verdict: Verdict) -> None:
    """No other server does it: of two, the second was stopped."""
    world.do(world.registries[1].close)
    store = world.stores[0]
    world.do(client.ask, Close())
    refused = 0
    while refused < 3:
        world.loop.advance(STEP)
        for sent in store.uncommitted():
            refuses = isinstance(sent.proposal, Evict) and sent.proposal.name == "plain"
            world.do(store.turn_down, sent, verdict) if refuses else world.do(store.commit, sent)
            refused += refuses
            world.do(store.tell, sent)
        while store.held_back:
            world.do(store.feed)
    assert (client.state, taken(world, "plain"), taken(world, "delayed")) == ("closes", True, False)
    assert freed_after(world, ["plain"]) == [about(RETRY_SECONDS)]
    assert client.state == "over"


def test_nothing_is_kept_of_what_is_freed(world: World, client: Stream) -> None:
    world.do(client.cut)
    freed_after(world)
    world.loop.advance(TTL + DELAY)
    world.quiesce()
    for registry in world.registries:
        assert repr(registry.host.orphans) == "Orphans(ending=0, waiting=0, freeing=0)"
