"""What a waiter sees when the process of the holder is killed."""

import asyncio
import signal
import tempfile
from pathlib import Path
from time import perf_counter

from tests.benchmarks.bystanders import bystander, said_ready
from tests.benchmarks.driver import Driver
from tests.benchmarks.figures import MILLISECONDS, Figure, percentile
from tests.benchmarks.queues import EtcdQueues
from tests.benchmarks.workloads import fresh_name

_POLL_SECONDS = 0.01


async def kill_to_grant(driver: Driver, queues: EtcdQueues, system: str, target: str, kills: int) -> Figure:
    """Kill so many holders one after the other, each with one waiter behind it."""
    (waiter,) = await driver.open_workers(1)
    seconds = []
    with tempfile.TemporaryDirectory(prefix="lockstream-bench-") as folder:
        for number in range(kills):
            name = fresh_name()
            holder = bystander("hold", system, target, name, folder=Path(folder, str(number)))
            with holder:
                while not said_ready(holder):  # noqa: ASYNC110 - a file of another process signals nothing
                    await asyncio.sleep(_POLL_SECONDS)
                grant = asyncio.ensure_future(waiter.acquire(name))
                await queues.wait_for_length(driver.queue_prefix(name), 2)
                killed_at = perf_counter()
                holder.send_signal(signal.SIGKILL)
                await grant
                seconds.append(perf_counter() - killed_at)
            await waiter.release()
    middle = percentile(seconds, 50) * MILLISECONDS
    return Figure(middle, "ms", p50_ms=middle, p99_ms=percentile(seconds, 99) * MILLISECONDS)
