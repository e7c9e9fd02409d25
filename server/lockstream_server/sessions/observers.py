"""Those who watch locks, each with a bounded queue between the fold and their stream."""

import asyncio
from collections.abc import Callable, Sequence

from lockstream_server.core.effects import Effect
from lockstream_server.core.errors import LockError, Reason, quota_exceeded
from lockstream_server.core.observing import LockChange, RevisionChanges, Watched, change_of, concerned
from lockstream_server.core.table import Table


class Observer:
    """One who watches. Nothing is kept for it before it listens.

    The bound is on changes that the stream has not taken yet: one more revision then ends it with SLOW_CONSUMER, and
    whoever watches goes on from the last revision read. So a revision of any size gets through to one who keeps up.
    """

    __slots__ = ("_cut", "_limit", "_unread", "_waiter", "error", "listening", "queue", "watched")

    def __init__(self, watched: Watched, limit: int, cut: Callable[[], object]) -> None:
        """`limit` is in changes; `cut` is called when they are too many, and at an end before it listens."""
        self.watched = watched
        self.listening = False
        self.queue: list[RevisionChanges] = []
        self.error: LockError | None = None
        """Why it is told no more."""
        self._limit = limit
        self._cut = cut
        self._unread = 0
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"Observer({self.watched}, {self._unread} changes unread, {self.error!r})"

    def tell(self, told: RevisionChanges) -> None:
        """Take in what a revision changed."""
        if not self.listening or self.error is not None:
            return
        if self._unread >= self._limit:
            self.queue.clear()
            self.end(LockError(Reason.SLOW_CONSUMER, "the client does not read as fast as the locks change"))
            self._cut()
            return
        self._unread += len(told.changes)
        self.queue.append(told)
        self._wake()

    def end(self, error: LockError) -> None:
        """Tell it no more. What is in the queue can still be taken; who does not listen yet is to be told nothing."""
        if self.error is None:
            self.error = error
            self._wake()
            if not self.listening:
                self._cut()

    async def take(self) -> Sequence[RevisionChanges]:
        """What there is, as soon as there is anything; nothing at the end."""
        while not self.queue and self.error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        taken, self.queue = self.queue, []
        self._unread = 0
        return taken

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Observers:
    """All who watch at this server."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[Observer]] = {}
        self._by_prefix: list[Observer] = []
        self._number = 0
        self._ended: LockError | None = None

    def __len__(self) -> int:
        return self._number

    def __repr__(self) -> str:
        return f"Observers({self._number})"

    def add(self, observer: Observer, most: int) -> None:
        """Let somebody watch. Raises LockError (QUOTA_EXCEEDED) when `most` do already, DRAINING at the end."""
        if self._ended is not None:
            raise self._ended
        if self._number >= most:
            raise quota_exceeded("observers", most, self._number, "this server has too many observers")
        self._number += 1
        self._group(observer).append(observer)

    def remove(self, observer: Observer) -> None:
        """It watches no more."""
        self._number -= 1
        group = self._group(observer)
        group.remove(observer)
        if not group and observer.watched.name is not None:
            del self._by_name[observer.watched.name]

    def took(self, table: Table, effects: Sequence[Effect]) -> None:
        """Tell whom it concerns what a revision did, which the table has just folded."""
        told: dict[Observer, list[LockChange]] = {}
        for effect in effects:
            for entry in concerned(table, effect):
                watching = [one for one in self._by_prefix if entry.name.startswith(one.watched.prefix)]
                watching += self._by_name.get(entry.name, ())
                change = change_of(table, effect, entry) if watching else None
                if change is not None:
                    for observer in watching:
                        told.setdefault(observer, []).append(change)
        for observer, changes in told.items():
            observer.tell(RevisionChanges(table.revision, changes))

    def lost_track(self, revision: int) -> None:
        """What happened after this revision cannot be told any more: whoever is to hear of it begins anew."""
        error = LockError(Reason.HISTORY_COMPACTED, f"what happened right after revision {revision} is gone")
        for observer in self._all():
            if observer.listening:
                observer.end(error)

    def end(self, error: LockError) -> None:
        """Tell nobody any more, and let nobody begin."""
        self._ended = error
        for observer in self._all():
            observer.end(error)

    def _all(self) -> list[Observer]:
        return [*self._by_prefix, *(one for group in self._by_name.values() for one in group)]

    def _group(self, observer: Observer) -> list[Observer]:
        name = observer.watched.name
        return self._by_prefix if name is None else self._by_name.setdefault(name, [])
