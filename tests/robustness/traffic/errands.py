"""What workers do with a session: short errands, each one way to use locks, picked by the seed.

An errand raises Refused where the service says no; its worker goes on with another.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.robustness.history import Part
from tests.robustness.traffic import names
from tests.robustness.traffic.recorded import RecordedHold, RecordedSession
from tests.robustness.traffic.register import RegisterClient
from tests.robustness.traffic.sessions import Ask, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAIT_SECONDS = 5.0
"""The longest wait of those that have an end."""


class Worker:
    """One of those who share a session, and what it needs for its errands."""

    def __init__(self, session: RecordedSession, registers: RegisterClient, rng: random.Random, name: str) -> None:
        self.session = session
        self.rng = rng
        self._registers = registers
        self._name = name
        self._errands = 0
        self.owner = name

    async def run(self, errands: Mapping["Errand", int]) -> None:
        """Do one errand. Every errand has an owner of its own, so that each entry in etcd tells whose it is."""
        self._errands += 1
        self.owner = f"{self._name}/{self._errands}"
        [errand] = self.rng.choices([*errands], weights=[*errands.values()])
        await errand(self)

    def ask(self, *parts: Part, wait: float | None = None, **more: object) -> Ask:
        """An acquire by this worker; without a stated wait mostly one that has an end."""
        if wait is None and self.rng.random() < 0.7:
            wait = self.rng.uniform(0.05, WAIT_SECONDS)
        return Ask(parts=parts, owner=self.owner, wait=wait, **more)  # type: ignore[arg-type]  # as stated by the caller

    @asynccontextmanager
    async def holding(self, ask: Ask) -> "AsyncIterator[RecordedHold]":
        """Hold what is asked for, and give it up afterwards if it is held still."""
        hold = await self.session.acquire(ask)
        try:
            yield hold
        finally:
            with suppress(Refused):  # it was lost, or the session is over
                await hold.release()

    async def work(self, hold: RecordedHold, *, writes: bool = True, longest: float = 0.05) -> None:
        """Look whether the lock is held, take some time, and write: as programs do.

        Between the look and the write anything may happen; the fence is there for that.
        """
        busy = self.rng.uniform(0, longest)
        if not hold.held:
            return
        await asyncio.sleep(busy)
        if writes:
            for name in hold.names:
                for fenced in (True, False):
                    await self._registers.write(name, hold.token, self.owner, fenced=fenced)


Errand = Callable[[Worker], Awaitable[None]]


async def alone(worker: Worker) -> None:
    """Hold a name exclusively."""
    async with worker.holding(worker.ask(Part(names.any_name(worker.rng)))) as hold:
        await worker.work(hold)


async def at_once(worker: Worker) -> None:
    """The same, if it is free."""
    mode = worker.rng.choice(["exclusive", "shared"])
    async with worker.holding(worker.ask(Part(names.any_name(worker.rng), mode), wait=0)) as hold:
        await worker.work(hold, writes=mode == "exclusive")


async def together(worker: Worker) -> None:
    """Share a name."""
    async with worker.holding(worker.ask(Part(worker.rng.choice(names.HOT), "shared"))) as hold:
        await worker.work(hold, writes=False)


async def some(worker: Worker) -> None:
    """Take permits."""
    async with worker.holding(worker.ask(names.some_permits(worker.rng))) as hold:
        await worker.work(hold, writes=False)


async def several(worker: Worker) -> None:
    """Hold several names at once."""
    wait = 0 if worker.rng.random() < 0.2 else None
    async with worker.holding(worker.ask(*names.several(worker.rng), wait=wait)) as hold:
        await worker.work(hold, writes=False)


async def change_of_mind(worker: Worker) -> None:
    """Give up waiting, at any moment."""
    with suppress(TimeoutError):
        async with asyncio.timeout(worker.rng.uniform(0, 0.1)):
            async with worker.holding(worker.ask(Part(worker.rng.choice(names.HOT)))):
                pass


async def read_then_write(worker: Worker) -> None:
    """Share a name, then have it alone, and share it again."""
    async with worker.holding(worker.ask(Part(names.any_name(worker.rng), "shared"))) as hold:
        await worker.work(hold, writes=False)
        await hold.upgrade(worker.rng.choice([0, 0.5, 2.0]))
        await worker.work(hold)
        if hold.held and worker.rng.random() < 0.5:
            await hold.downgrade()
            await worker.work(hold, writes=False)
            if hold.held:
                await hold.upgrade(0.5)
                await worker.work(hold)


async def write_then_read(worker: Worker) -> None:
    """Have a name alone, then share it."""
    async with worker.holding(worker.ask(Part(names.any_name(worker.rng)))) as hold:
        await worker.work(hold)
        if hold.held:
            await hold.downgrade()
            await worker.work(hold, writes=False)


async def in_either_order(worker: Worker) -> None:
    """Hold one name and wait for another; others do it the other way round."""
    first, second = worker.rng.sample(names.PAIR, 2)
    async with worker.holding(worker.ask(Part(first), wait=WAIT_SECONDS)) as hold:
        await worker.work(hold)
        async with worker.holding(worker.ask(Part(second), wait=1.0)) as other:
            await worker.work(other)


async def beyond_the_limit(worker: Worker) -> None:
    """Hold for longer than was asked for, or nearly."""
    async with worker.holding(worker.ask(Part(names.LIMITED), max_hold=1.0)) as hold:
        await worker.work(hold, longest=1.3)


async def with_a_delay(worker: Worker) -> None:
    """Hold a name that stays taken should the session be lost meanwhile."""
    async with worker.holding(worker.ask(Part(names.DELAYED), lock_delay=worker.rng.choice([0.5, 3.0]))) as hold:
        await worker.work(hold)


async def say_something(worker: Worker) -> None:
    """Say something with a hold, and then something else."""
    async with worker.holding(worker.ask(Part(names.any_name(worker.rng)), value=b"first")) as hold:
        await hold.set_value(worker.rng.randbytes(8).hex().encode())
        await worker.work(hold)


async def in_a_hurry(worker: Worker) -> None:
    """Ask those who hold to yield, from the beginning."""
    async with worker.holding(worker.ask(Part(worker.rng.choice(names.HOT)), request_yield=True)) as hold:
        await worker.work(hold)


async def in_a_hurry_at_last(worker: Worker) -> None:
    """Ask those who hold to yield, after some waiting."""
    name = worker.rng.choice(names.HOT)

    async def nudge() -> None:
        await asyncio.sleep(0.03)
        with suppress(Refused):  # nothing waits any more
            await worker.session.request_yield(name)

    nudging = asyncio.ensure_future(nudge())
    try:
        async with worker.holding(worker.ask(Part(name))) as hold:
            await worker.work(hold)
    finally:
        nudging.cancel()
        await asyncio.gather(nudging, return_exceptions=True)


async def at_leisure(worker: Worker) -> None:
    """Hold until asked to yield, or for a while."""
    async with worker.holding(worker.ask(Part(worker.rng.choice(names.HOT)))) as hold:
        for _ in range(20):
            if hold.yield_requested or not hold.held:
                break
            await asyncio.sleep(0.02)
        await worker.work(hold)


async def exposed(worker: Worker) -> None:
    """Hold what an operator takes away now and then."""
    async with worker.holding(worker.ask(Part(names.BROKEN))) as hold:
        await worker.work(hold, longest=0.3)


ERRANDS: Mapping[Errand, int] = {
    alone: 25,
    at_once: 8,
    together: 15,
    some: 12,
    several: 8,
    change_of_mind: 6,
    read_then_write: 6,
    write_then_read: 3,
    in_either_order: 4,
    beyond_the_limit: 2,
    with_a_delay: 4,
    say_something: 3,
    in_a_hurry: 3,
    in_a_hurry_at_last: 3,
    at_leisure: 3,
    exposed: 3,
}
"""What every client does, and how often."""
