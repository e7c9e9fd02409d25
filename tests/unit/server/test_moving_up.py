"""Telling waiters that they moved up: true, and cheap however many wait."""

from collections.abc import Callable, Sequence

import pytest

from lockstream_server.core.messages import Acquire, AcquireAll, AcquirePart, Cancel, PositionChanged
from lockstream_server.core.model import Entry, Mode, Terms
from lockstream_server.sessions.dispatch import POSITION_SECONDS
from tests.support.players import Stream, World

WAITERS = 300
PARTS = [AcquirePart(name, Mode.EXCLUSIVE, Terms(parts=2)) for name in ("a", "b")]


def opened(world: World, number: int) -> Sequence[Stream]:
    """Sessions that are attached."""
    streams = [world.open(0) for _ in range(number)]
    world.quiesce()
    return streams


def ask(world: World, stream: Stream, *requests: Acquire | AcquireAll | Cancel) -> None:
    """Ask, one after the other, and let the store take it all."""
    for request in requests:
        world.do(stream.ask, request)
        world.quiesce()


def one(acquire: int) -> Acquire:
    return Acquire(acquire, "a", Mode.EXCLUSIVE, f"{acquire}", None)


def both(acquire: int) -> AcquireAll:
    return AcquireAll(acquire, PARTS, f"{acquire}", None)


def told(stream: Stream) -> list[tuple[int, int]]:
    """Who was told of which place."""
    return [(each.acquire, each.position) for each in stream.happenings if isinstance(each, PositionChanged)]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """Grows by every entry that is compared with another, as a search through a queue does with all it passes."""
    passed: list[Entry] = []

    def is_same(entry: Entry, other: object) -> bool:
        passed.append(entry)
        return entry is other

    monkeypatch.setattr(Entry, "__eq__", is_same)
    return passed


@pytest.mark.parametrize("asked", [one, both])
def test_nobody_is_searched_for_in_a_long_queue(
    world: World, compared: list[Entry], asked: Callable[[int], Acquire | AcquireAll]
) -> None:
    """When many move up at once, each is told, and the time for that grows with their number, not with its square."""
    holder, crowd = opened(world, 2)
    ask(world, holder, asked(1), asked(2))
    ask(world, crowd, *(asked(number) for number in range(1, WAITERS + 1)))
    world.loop.advance(POSITION_SECONDS)
    ask(world, holder, Cancel(2))
    compared.clear()
    world.loop.advance(POSITION_SECONDS)
    assert told(crowd) == [(number, number) for number in range(1, WAITERS + 1)]
    assert len(compared) < WAITERS


def test_whoever_waits_for_several_is_told_of_its_last_place(world: World) -> None:
    """Also when it is another queue that moves."""
    holder, other, waiter = opened(world, 3)
    ask(world, holder, both(1))
    ask(world, other, one(1), one(2))
    ask(world, waiter, both(1))
    ask(world, other, Acquire(3, "b", Mode.EXCLUSIVE, "3", None))
    for left in (2, 1):
        ask(world, other, Cancel(left))
        world.loop.advance(POSITION_SECONDS)
    assert told(waiter) == [(1, 2), (1, 1)]
