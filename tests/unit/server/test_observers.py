"""Observers: each with a bounded queue of its own, so that no one of them is felt by the fold or by others."""

import asyncio
from collections.abc import Sequence

import pytest

from lockstream_server.core.changes import Revision
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.observing import RevisionChanges, Watched
from lockstream_server.core.table import Table
from lockstream_server.sessions.observers import Observer, Observers
from lockstream_server.sessions.witness import Witness
from tests.support.history import delete, opened, put

LIMIT = 4
EVERYTHING = Watched(None)


class World:
    """A table whose folds are witnessed."""

    def __init__(self) -> None:
        self.table = Table()
        self.witness = Witness()
        self.cut: list[Observer] = []
        self.fold(opened(1, 1))

    @property
    def observers(self) -> Observers:
        return self.witness.observers

    def fold(self, *changes: object) -> None:
        revision = Revision(self.table.revision + 1, changes)  # type: ignore[arg-type] # changes of any kind
        self.witness.took(self.table, self.table.fold(revision, 1000.0), 1000.0)

    def observer(self, watched: Watched = EVERYTHING) -> Observer:
        """One that listens."""
        observer = Observer(watched, LIMIT, cut=lambda: self.cut.append(observer))
        self.observers.add(observer, 10)
        observer.listening = True
        return observer

    def one_change(self) -> None:
        """A lock is granted, or released if it was."""
        change = delete("a", 1) if "a" in self.table.locks else put("a", 1, self.table.revision + 1)
        self.fold(change)


def revisions(told: Sequence[RevisionChanges]) -> list[int]:
    return [each.revision for each in told]


async def taken(observer: Observer) -> list[int]:
    """The revisions that wait for an observer."""
    return revisions(await asyncio.wait_for(observer.take(), 1))


async def test_an_observer_is_told_each_revision_that_concerns_it_once() -> None:
    world = World()
    named, prefixed, other = (world.observer(each) for each in (Watched("a"), Watched(None, "a"), Watched("b")))
    world.one_change()
    world.fold(opened(2, world.table.revision + 1))
    world.one_change()
    assert await taken(named) == [2, 4]
    assert await taken(prefixed) == [2, 4]
    world.fold(put("b", 1, world.table.revision + 1))
    assert await taken(other) == [5]


async def test_nothing_is_kept_for_an_observer_before_it_listens() -> None:
    world = World()
    observer = world.observer()
    observer.listening = False
    world.one_change()
    observer.listening = True
    world.one_change()
    assert await taken(observer) == [3]


async def test_an_observer_waits_for_the_next_change() -> None:
    world = World()
    observer = world.observer()
    waiting = asyncio.ensure_future(observer.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    world.one_change()
    assert revisions(await waiting) == [2]


async def test_one_that_does_not_read_is_cut_off_and_others_are_told() -> None:
    world = World()
    slow, steady = world.observer(), world.observer()
    told = []
    for _ in range(LIMIT + 3):
        world.one_change()
        told += await taken(steady)
    assert world.cut == [slow]
    assert slow.error is not None
    assert slow.error.reason is Reason.SLOW_CONSUMER
    assert slow.queue == [], "nothing more is kept for it"
    assert told == [*range(2, LIMIT + 5)]


async def test_a_revision_larger_than_the_bound_gets_through() -> None:
    world = World()
    observer = world.observer()
    world.fold(*(put(f"{number}", 1, 2) for number in range(3 * LIMIT)))
    (told,) = await observer.take()
    assert len(told.changes) == 3 * LIMIT
    world.one_change()
    assert await taken(observer) == [3]


async def test_at_the_end_observers_take_what_there_is_and_no_more_come() -> None:
    world = World()
    observer = world.observer()
    world.one_change()
    end = LockError(Reason.DRAINING, "the end")
    world.observers.end(end)
    world.one_change()
    assert await taken(observer) == [2]
    assert await taken(observer) == []
    assert observer.error is end
    with pytest.raises(LockError) as refused:
        world.observer()
    assert refused.value is end


async def test_there_are_only_so_many_observers() -> None:
    world = World()
    observers = [world.observer(Watched("a")), world.observer()]
    late = Observer(Watched("b"), LIMIT, cut=lambda: None)
    with pytest.raises(LockError) as refused:
        world.observers.add(late, 2)
    assert refused.value.reason is Reason.QUOTA_EXCEEDED
    assert refused.value.metadata == {"limit": "observers", "maximum": "2", "current": "2"}
    for observer in observers:
        world.observers.remove(observer)
    assert not world.observers
    world.observers.add(late, 2)


async def test_one_that_left_is_told_nothing() -> None:
    world = World()
    observer = world.observer(Watched("a"))
    world.observers.remove(observer)
    world.one_change()
    assert observer.queue == []


async def test_holds_and_tokens_are_remembered() -> None:
    world = World()
    world.one_change()
    world.one_change()
    assert world.witness.highest_tokens.of("a") == 2
    assert world.witness.hold_times.mean("a") == 0.0
