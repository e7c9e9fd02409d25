"""The loops that are measured. Every system is put through the very same code."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

from tests.benchmarks.cpu import cpu_seconds
from tests.benchmarks.driver import Driver, Worker
from tests.benchmarks.figures import MICROSECONDS, Figure, rate
from tests.benchmarks.queues import EtcdQueues

# Waiters are on etcd's record before their watches have caught up; etcd catches up in steps of
# 100 ms. What is drained is a queue that has been standing, so every system gets three such steps.
SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Load:
    """How much of a workload: `warm_up` seconds that do not count, then `seconds` that do."""

    concurrency: int
    warm_up: float
    seconds: float


@dataclass
class _Handoffs:
    """Durations from a release to the next holder's learning of its grant, on one lock."""

    durations: list[float] = field(default_factory=list)
    released_at: float | None = None

    async def take_turn(self, worker: Worker, name: str, count_from: float = 0.0) -> None:
        """Acquire and release once; the handoff counts if it began at `count_from` or later."""
        await worker.acquire(name)
        granted_at = perf_counter()
        if self.released_at is not None and self.released_at >= count_from:
            self.durations.append(granted_at - self.released_at)
        self.released_at = perf_counter()
        await worker.release()


async def pairs(driver: Driver, load: Load, processes: Mapping[str, int], name: str | None = None) -> Figure:
    """Acquire and release, and see how much processor time the processes need for it.

    Each worker has a name of its own unless there is one for all.
    """
    workers = await driver.open_workers(load.concurrency)
    durations: list[float] = []
    count_from = perf_counter() + load.warm_up
    end = count_from + load.seconds

    async def loop(worker: Worker, name: str) -> None:
        now = perf_counter()
        while now < end:
            began = now
            await worker.acquire(name)
            await worker.release()
            now = perf_counter()
            if count_from <= now < end:
                durations.append(now - began)

    async with asyncio.TaskGroup() as tasks:
        used = tasks.create_task(cpu_seconds(processes, after=load.warm_up, during=load.seconds))
        for worker in workers:
            tasks.create_task(loop(worker, name or fresh_name()))
    figure = rate(durations, load.seconds, "pairs/s")
    cpu_us = {name: seconds * MICROSECONDS / len(durations) for name, seconds in used.result().items()}
    return replace(figure, cpu_us=cpu_us)


async def handoff_steady(driver: Driver, load: Load) -> Figure:
    """Take turns on one name, queueing again at once."""
    workers = await driver.open_workers(load.concurrency)
    name, handoffs = fresh_name(), _Handoffs()
    count_from = perf_counter() + load.warm_up

    async def loop(worker: Worker) -> None:
        while True:
            await handoffs.take_turn(worker, name, count_from)

    loops = [asyncio.ensure_future(loop(worker)) for worker in workers]
    done, _ = await asyncio.wait(loops, timeout=load.warm_up + load.seconds, return_when=asyncio.FIRST_EXCEPTION)
    for failed in done:
        failed.result()
    durations = list(handoffs.durations)
    for waiting in loops:
        waiting.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    return rate(durations, load.seconds, "handoffs/s")


async def handoff_drain(driver: Driver, load: Load, queues: EtcdQueues) -> Figure:
    """Queue waiters behind a holder, then let the queue drain; again and again."""
    holder, *waiters = await driver.open_workers(load.concurrency + 1)
    durations: list[float] = []
    draining_seconds = 0.0

    async def drain(name: str) -> tuple[list[float], float]:
        handoffs = _Handoffs()
        await holder.acquire(name)
        turns = [asyncio.ensure_future(handoffs.take_turn(each, name)) for each in waiters]
        await queues.wait_for_length(driver.queue_prefix(name), 1 + len(waiters))
        await asyncio.sleep(SETTLE_SECONDS)
        began = handoffs.released_at = perf_counter()
        await holder.release()
        await asyncio.gather(*turns)
        last_grant = handoffs.released_at
        return handoffs.durations, last_grant - began

    await drain(fresh_name())  # the warm-up
    end = perf_counter() + load.seconds
    while not durations or perf_counter() < end:
        drained, seconds = await drain(fresh_name())
        durations += drained
        draining_seconds += seconds
    return rate(durations, draining_seconds, "handoffs/s")


def fresh_name() -> str:
    """A lock name that no measurement on this etcd has used before."""
    return f"bench-{uuid.uuid4().hex[:12]}"
