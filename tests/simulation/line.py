"""The connection of one server to etcd, what ails it, and the watches that come by it."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.store.port import Feed
from tests.simulation.etcd import Etcd
from tests.simulation.processes import Process, Scheduler, State

REQUEST_TIMEOUT = 2.0
"""Seconds that one attempt may take, as in the etcd store."""
LEAST_DELAY = 1e-5
"""Seconds that any message takes."""
LOSSY = 0.15
"""Probability that a message is lost, or comes too late, while the way is at its worst."""


class Line:
    """The connection of one server to etcd, and what ails it."""

    def __init__(self, scheduler: Scheduler, random: Random, etcd: Etcd, typical_delay: float) -> None:
        self.scheduler = scheduler
        self.random = random
        self.etcd = etcd
        self.typical_delay = typical_delay
        self.loss = 0.0
        """Probability that a request, or its answer, is lost or comes too late."""
        self.lossy_until = 0.0
        """Before this moment so many are as in `LOSSY`."""
        self.down_until = 0.0
        """Nothing gets through before this moment."""
        self.compacted = 0.0
        """Probability that a watch finds its history compacted when it begins again."""

    def heal(self) -> None:
        """Everything gets through in time from now on."""
        self.loss = self.compacted = self.down_until = self.lossy_until = 0.0

    def delay(self) -> float:
        """Seconds that one message takes; more than an attempt may take, when it is to come too late."""
        random = self.random.random
        late = REQUEST_TIMEOUT * 4 * random() if random() < self._loss() else 0.0
        draw = random()
        return draw * draw * self.typical_delay + LEAST_DELAY + late

    def lost(self) -> bool:
        """Whether one message is lost."""
        loss = self._loss()
        return self.scheduler.now < self.down_until or (loss > 0 and self.random.random() < loss / 3)

    def _loss(self) -> float:
        return LOSSY if self.scheduler.now < self.lossy_until else self.loss

    def send(self, source: Process, target: Process, action: Callable[..., object], *args: Any) -> None:
        """Put a message on its way, unless who sends it is dead."""
        if source.state is not State.DEAD and not self.lost():
            self.scheduler.arrive(target, self.scheduler.now + self.delay(), action, *args)


class Watch:
    """One watch: what it tells arrives in order, until it breaks."""

    def __init__(self, process: Process, line: Line, feed: Feed, after: int | None) -> None:
        self._process = process
        self._line = line
        self._feed = feed
        self._last = 0.0
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self.broken: asyncio.Future[None] = process.create_future()
        when = max(line.scheduler.now + line.delay(), line.down_until)
        line.scheduler.arrive(line.etcd.process, when, self._begin, after)

    def _begin(self, after: int | None) -> None:
        """On etcd's side."""
        if not self._ended:
            self._task = self._line.etcd.watch(after, self._tell)

    def _tell(self, news: Snapshot | Revision) -> None:
        """On etcd's side: TCP repeats what a broken line swallows, so nothing is lost but time."""
        line = self._line
        self._last = max(self._last, line.scheduler.now + line.delay(), line.down_until)
        line.scheduler.arrive(self._process, self._last, self._arrive, news)

    def _arrive(self, news: Snapshot | Revision) -> None:
        if self._ended:
            return
        if isinstance(news, Snapshot):
            self._feed.resync(news)
        else:
            self._feed.fold(news)

    def stall(self, seconds: float) -> None:
        """Fall behind."""
        self._last = max(self._last, self._line.scheduler.now + seconds)

    def end(self) -> None:
        """Break, with whatever is on its way."""
        if self._ended:
            return
        self._ended = True
        if self._task is not None:
            task = self._task
            self._line.scheduler.arrive(self._line.etcd.process, self._line.scheduler.now, task.cancel)
        if not self.broken.done():
            self.broken.set_result(None)
