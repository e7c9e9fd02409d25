"""Sessions that wait for their turn to be taken up, of which there are thousands when a server comes back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from lockstream_server.core.messages import Resume
from lockstream_server.sessions import beginnings
from tests.support.players import TTL, Stream, World

WAIT = 2.5 * TTL
"""Seconds, in which a lease ends that is not renewed."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two servers, in virtual time, that take up one session at a time and wait for etcd for as long as it takes."""
    monkeypatch.setattr(beginnings, "BEGINNINGS", 1)
    world = World(2)
    for registry in world.registries:
        registry.host.bounds = replace(registry.host.bounds, store_timeout=10 * WAIT)
    yield world
    world.close()


@pytest.fixture
def renewals(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the session of each renewal that the second server asks for."""
    asked: list[int] = []
    renew = world.stores[1].renew_lease

    def renew_lease(session: int, confirm: Callable[[bool], None]) -> None:
        asked.append(session)
        renew(session, confirm)

    monkeypatch.setattr(world.stores[1], "renew_lease", renew_lease)
    return asked


@pytest.fixture
def sessions(world: World) -> Sequence[Stream]:
    """Two of the first server, which is dead; the second one is busy with the first of them for now."""
    sessions = [world.open(0), world.open(0)]
    world.quiesce()
    world.stores[0].cut_off = True
    assert world.resume(sessions[0], 1).state == "begins"
    return sessions


def test_the_lease_of_one_that_waits_is_kept(world: World, sessions: Sequence[Stream]) -> None:
    resumed = world.resume(sessions[1], 1)
    world.loop.advance(WAIT)
    assert {*world.truth.sessions()} == {stream.session for stream in sessions}
    assert resumed.state == "begins"
    world.quiesce()
    assert resumed.state == "attached"
    assert world.registries[1].sessions[resumed.session].proven >= TTL * 2 / 3 - 0.1


def test_what_was_renewed_for_that_is_not_renewed_again(
    world: World, sessions: Sequence[Stream], renewals: list[int]
) -> None:
    resumed = world.resume(sessions[1], 1)
    world.loop.advance(TTL / 6)
    world.quiesce()
    assert resumed.state == "attached"
    assert renewals.count(resumed.session) == 1


def test_one_whose_lease_ends_meanwhile_is_told_so(world: World, sessions: Sequence[Stream]) -> None:
    resumed = world.resume(sessions[1], 1)
    world.do(world.truth.revoke_lease, sessions[1].session)
    world.loop.advance(TTL / 2)  # its lease is renewed once more, to no avail
    world.quiesce()
    assert resumed.state == "over"
    assert world.stores[1].proposals == 1, "the first was taken over, and nothing else was tried"


def test_no_lease_is_kept_for_a_client_that_has_gone(
    world: World, sessions: Sequence[Stream], renewals: list[int]
) -> None:
    gone, lost = Stream(world, 1), sessions[1]
    beginning = world.loop.create_task(gone.conversation.begin(1, Resume(lost.session, lost.token)))
    world.loop.advance(TTL / 6)
    assert renewals.count(lost.session) == 1
    world.do(beginning.cancel)
    world.loop.advance(WAIT)
    assert renewals.count(lost.session) == 1
    assert {*world.truth.sessions()} == {sessions[0].session}


def test_an_answer_that_comes_too_late_proves_nothing(world: World, sessions: Sequence[Stream]) -> None:
    """One asked for while the session waited, and told when it was attached and its proof was over."""
    resumed, store = world.resume(sessions[1], 1), world.stores[1]
    world.loop.advance(TTL / 3 - 0.01)
    store.hold_confirms = True
    world.loop.advance(0.1)  # it is renewed once more, and nobody hears of it
    while resumed.state != "attached":
        world.do(store.move)
        world.loop.advance(0.01)
    session = world.registries[1].sessions[resumed.session]
    before = session.proven
    assert 0 < before < TTL * 2 / 3
    [late, *_] = store.confirms
    world.do(late)
    assert session.proven <= before
