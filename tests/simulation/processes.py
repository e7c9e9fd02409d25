"""Processes of a simulated world: each an event loop of its own, run step by step by one scheduler.

A step is one callback of one process, that is, what runs between two awaits. Between any two steps a process may be
frozen, thawed or killed. Time passes only when nothing is ready, and then jumps to the next timer.
"""

import asyncio
import math
from asyncio.events import _get_running_loop, _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from enum import Enum
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

BURIALS = 20
"""Rounds of cancellation after which a killed process must have no task left."""


class State(Enum):
    """What becomes of a process's callbacks."""

    RUNS = "runs"
    FROZEN = "frozen"
    """They are set aside until it is thawed, its timers too."""
    DEAD = "dead"
    """They are dropped."""


class Callback(asyncio.TimerHandle):
    """Something to be called by a process, soon or at a moment of its clock."""

    __slots__ = ("arrival", "process")

    def __init__(self, process: "Process", callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        # Not calling the base class, which copies a context for every callback: nothing here has any use for it.
        self._callback: Callable[..., object] | None = callback
        self._args: tuple[Any, ...] = args
        self._cancelled = False
        self._when = 0.0
        self.process = process
        self.arrival = False
        """Whether it brings something from outside, as a socket does."""

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = None, ()

    def __repr__(self) -> str:
        return f"<Callback {self._callback} of {self.process}>"


class Scheduler:
    """Runs the callbacks of all processes, one at a time, in an order that depends on nothing but their delays."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the world began. No process sees this clock; each has its own."""
        self.steps = 0
        self.defects: list[str] = []
        """What went wrong: `run` ends with the first."""
        self._limit = 0.0
        self._ready: deque[Callback] = deque()
        self._timers: list[tuple[float, int, Callback]] = []
        self._order = count()

    def run(self, until: float, steps: float) -> bool:
        """Run up to this moment and this number of steps, whichever comes first. False when nothing is left to do."""
        ready, timers = self._ready, self._timers
        self._limit = steps
        running: Process | None = None
        try:
            while self.steps < self._limit:
                if ready:
                    callback = ready.popleft()
                elif not timers:
                    return False
                elif timers[0][0] > until:
                    self.now = until
                    return True
                else:
                    when, _, callback = heappop(timers)
                    if callback._cancelled:  # noqa: SLF001 - a class of this module
                        continue
                    self.now = max(self.now, when)
                    if callback.process.due(callback._when) > when:  # noqa: SLF001 - its clock stood still meanwhile
                        self.at(callback.process.due(callback._when), callback)  # noqa: SLF001 - as above
                        continue
                if callback._cancelled:  # noqa: SLF001 - as above
                    continue
                process = callback.process
                if process.state is not State.RUNS:
                    process.set_aside(callback)
                    continue
                if process is not running:
                    _set_running_loop(process)
                    running = process
                self.steps += 1
                callback._callback(*callback._args)  # type: ignore[misc]  # noqa: SLF001 - None only when cancelled
                if process.after_step is not None:
                    process.after_step()
        finally:
            _set_running_loop(None)
        return True

    def fail(self, why: str) -> None:
        """Something happened that must not: run nothing more."""
        self.defects.append(why)
        self._limit = -1

    def soon(self, callback: Callback) -> None:
        """Call it as soon as everything before it was called."""
        self._ready.append(callback)

    def take_back(self, process: "Process") -> list[Callback]:
        """What the process would have done next, but for what has just arrived."""
        taken = [callback for callback in self._ready if callback.process is process]
        for callback in taken:
            self._ready.remove(callback)
        return [callback for callback in taken if not callback.arrival]

    def at(self, when: float, callback: Callback) -> None:
        """Call it at a moment of the scheduler's clock."""
        heappush(self._timers, (when, next(self._order), callback))

    def arrive(self, process: "Process", when: float, action: Callable[..., object], *args: Any) -> None:
        """Call something in a process at a moment of this clock, as what comes in by a network is.

        What arrives at the same moment does so in the order of these calls.
        """
        callback = Callback(process, action, args)
        callback.arrival = True
        heappush(self._timers, (when, next(self._order), callback))

    def next_process(self) -> "Process | None":
        """Whose step is next, if anybody is in the middle of something."""
        return self._ready[0].process if self._ready else None


class Process(asyncio.BaseEventLoop):
    """An event loop with a clock that shows something else than any other's, and runs as fast.

    Of the base class it is only the type: there are no files, signals or threads in the simulated world.
    """

    def __init__(self, scheduler: Scheduler, name: str, epoch: float) -> None:
        """`epoch` is what its clock showed when the world began."""
        # Not calling the base class, which would open files.
        self.name = name
        self.state = State.RUNS
        self.after_step: Callable[[], None] | None = None
        """Called after each of its steps."""
        self._scheduler = scheduler
        self._epoch = epoch
        self._aside: list[Callback] = []
        self._suspended_at: float | None = None
        self.slept = 0.0
        """Seconds of the world's time for which its machine was suspended."""
        self._last_steps: deque[Callback] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} {self.state.value}>"

    # What an event loop offers, as far as it is asked for here.

    def time(self) -> float:
        return self._scheduler.now + self._epoch

    def call_soon(  # type: ignore[override]  # no context is kept: nothing here uses context variables
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Callback:
        del context
        handle = Callback(self, callback, args)
        if self._last_steps is not None:
            self._last_steps.append(handle)
        elif self.state is State.RUNS:
            self._scheduler.soon(handle)
        else:
            self.set_aside(handle)
        return handle

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Callback:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Callback:
        del context
        handle = Callback(self, callback, args)
        handle._when = when  # noqa: SLF001 - a class of this module
        self._scheduler.at(self.due(when), handle)
        return handle

    def due(self, when: float) -> float:
        """The moment of the scheduler's clock at which this one's shows `when`."""
        due = when - self._epoch
        while due + self._epoch < when:  # rounding must not let a timer fire before its time
            due = math.nextafter(due, math.inf)
        return due

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # as above
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[T]":
        del context
        return asyncio.Task(coro, loop=self, name=name)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return True  # there is nothing to be closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.state is not State.DEAD:
            self._scheduler.fail(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")

    # What may happen to it.

    def set_aside(self, callback: Callback) -> None:
        """Keep a callback for the thaw; nobody calls anything in a dead process."""
        if self.state is State.FROZEN:
            self._aside.append(callback)

    def freeze(self) -> None:
        """Run nothing until `thaw`; the clock goes on."""
        self.state = State.FROZEN

    def suspend(self) -> None:
        """Run nothing until `thaw`, as if its machine slept: its clock stands still."""
        self.freeze()
        self._suspended_at = self._scheduler.now

    def thaw(self, *, arrivals_first: bool) -> None:
        """Go on: with everything that became due meanwhile, in its order, or with what came in before any timer."""
        if self.state is not State.FROZEN:
            return
        self.state = State.RUNS
        if self._suspended_at is not None:
            slept = self._scheduler.now - self._suspended_at
            self.slept += slept
            self._epoch -= slept
            self._suspended_at = None
        aside, self._aside = self._aside, []
        if arrivals_first:
            aside.sort(key=lambda callback: callback._when > 0)  # noqa: SLF001 - a class of this module
        for callback in aside:
            if callback._when > self.time():  # noqa: SLF001 - not due yet: its clock stood still
                self._scheduler.at(self.due(callback._when), callback)  # noqa: SLF001 - as above
            else:
                self._scheduler.soon(callback)

    def kill(self) -> None:
        """End it at once. Nobody hears what its tasks say on their way: what sends looks at the state first."""
        if self.state is State.DEAD:
            return
        self.state = State.DEAD
        self.after_step = None
        # Tasks that were about to go on can only be cancelled by going on.
        self._last_steps = deque(callback for callback in self._aside if not callback.arrival)
        self._last_steps.extend(self._scheduler.take_back(self))
        self._aside.clear()
        outer = _get_running_loop()
        _set_running_loop(self)
        try:
            for _ in range(BURIALS):
                tasks = asyncio.all_tasks(self)
                if not tasks:
                    return
                for task in tasks:
                    task.cancel()
                while self._last_steps:
                    callback = self._last_steps.popleft()
                    if not callback._cancelled:  # noqa: SLF001 - a class of this module
                        callback._callback(*callback._args)  # type: ignore[misc]  # noqa: SLF001 - as in `run`
            raise AssertionError(f"{self} cannot be killed: {asyncio.all_tasks(self)}")
        finally:
            self._last_steps = deque()
            _set_running_loop(outer)

    def tasks(self) -> "list[asyncio.Task[Any]]":
        """Its tasks that are not done."""
        return sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
