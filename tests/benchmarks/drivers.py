"""Every system's driver, by the system's name."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio

from tests.benchmarks import plan
from tests.benchmarks.driver import Driver
from tests.benchmarks.etcd_txn import TxnDriver
from tests.benchmarks.etcd_v3lock import V3LockDriver
from tests.benchmarks.lockstream_driver import LockstreamDriver


@asynccontextmanager
async def connect(system: str, target: str, bench: str = "pairs") -> AsyncIterator[Driver]:
    """A driver of `system` for a bench, on one connection to the lock service at `target`, closed at the end.

    Raises:
        ValueError: there is no such system.
    """
    async with AsyncExitStack() as stack:
        driver: Driver
        match system:
            case plan.LOCKSTREAM | plan.LOCKSTREAM_SHARED:
                shared = system == plan.LOCKSTREAM_SHARED
                driver = await stack.enter_async_context(LockstreamDriver.at(target, shared=shared, bench=bench))
            case plan.V3LOCK:
                driver = V3LockDriver(await stack.enter_async_context(grpc.aio.insecure_channel(target)))
            case plan.TXN:
                driver = TxnDriver(await stack.enter_async_context(grpc.aio.insecure_channel(target)))
            case _:
                raise ValueError(f"unknown system {system}")
        stack.push_async_callback(driver.close)
        yield driver
