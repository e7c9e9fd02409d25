"""The network between clients and servers: in place of gRPC, with what gRPC and TCP do when things break.

A stream never reorders, and never loses anything but its end: what is lost is lost together with everything after it.
Streams among each other arrive as they like. Either end may learn of a break at once, late or never.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.processes import Process, Scheduler, State

if TYPE_CHECKING:
    from tests.simulation.calls import Call
    from tests.simulation.trace import Trace

LEAST_DELAY = 1e-5
"""Seconds that any message takes."""

Heard = Callable[[Any], None]


class Network:
    """Delays and breaks, all drawn from one seed."""

    def __init__(self, scheduler: Scheduler, random: Random, trace: "Trace", typical_delay: float) -> None:
        self.scheduler = scheduler
        self.random = random
        self.trace = trace
        self.typical_delay = typical_delay
        self.isolated: dict[Process, float] = {}
        """Processes that reach nobody before a moment, and whom nobody reaches."""
        self.hiccups = 0.0
        """Probability of a message that takes far longer than usual."""
        self.calls: dict[Call, None] = {}
        """Those under way, in the order in which they began."""

    def after(self, seconds: float, process: Process, action: Callable[..., object]) -> None:
        """Let something come to a process from outside."""
        self.scheduler.arrive(process, self.scheduler.now + seconds, action)

    def isolate(self, process: Process, seconds: float) -> None:
        """Cut a process off from all others but etcd: what is open falls silent, and nothing new can be opened."""
        self.isolated[process] = max(self.isolated.get(process, 0.0), self.scheduler.now + seconds)
        for call in [*self.calls]:
            if process in (call.client, call.server):
                call.lose(up=True, down=True)

    def separates(self, *processes: Process) -> bool:
        """Whether nothing passes between these."""
        return any(self.isolated.get(process, 0.0) > self.scheduler.now for process in processes)

    def delay(self) -> float:
        """Seconds that one message takes."""
        draw = self.random.random()
        if draw < self.hiccups:
            return self.random.random() * 2.0 + LEAST_DELAY
        return draw * draw * self.typical_delay + LEAST_DELAY


class Pipe:
    """One direction of a stream."""

    __slots__ = ("_hear", "_last", "_network", "_source", "_target", "cut")

    def __init__(self, network: Network, source: Process, target: Process, hear: Heard) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._hear = hear
        self._last = 0.0
        self.cut = False
        """Whether everything that has not arrived is lost."""

    def send(self, message: Any) -> None:
        """Put a message on its way, unless who sends it is dead."""
        if self.cut or self._source.state is State.DEAD:
            return
        network = self._network
        self._last = max(self._last, network.scheduler.now + network.delay())
        network.scheduler.arrive(self._target, self._last, self._arrive, message)

    def stall(self, seconds: float) -> None:
        """Deliver nothing new for a while, then all of it, as TCP does after a short partition."""
        self._last = max(self._last, self._network.scheduler.now + seconds)

    def _arrive(self, message: Any) -> None:
        if not self.cut:
            self._hear(message)


class Inbox:
    """What has arrived at one end, with the end of the stream as the last of it."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._end: Any = None

    def put(self, item: Any) -> None:
        """A message."""
        if self._end is None:
            self._items.append(item)
            self._wake()

    def finish(self, end: Any) -> None:
        """The stream ended, with `grpc.aio.EOF` or an exception."""
        if self._end is None:
            self._end = end
            self._wake()

    async def take(self) -> Any:
        """The next message; at the end EOF, or the exception raised."""
        while not self._items:
            if self._end is not None:
                if isinstance(self._end, BaseException):
                    raise self._end
                return self._end
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._items.popleft()

    @property
    def ended(self) -> bool:
        """Whether nothing more arrives."""
        return self._end is not None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
