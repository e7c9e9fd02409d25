"""Every system's driver, by the system's name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from tests.benchmarks.driver import Driver
from tests.benchmarks.etcd_txn import TxnDriver
from tests.benchmarks.etcd_v3lock import V3LockDriver


@asynccontextmanager
async def connect(system: str, target: str) -> AsyncIterator[Driver]:
    """A driver of `system`, connected to the lock service at `target`, closed at the end.

    Raises:
        ValueError: there is no such system.
    """
    async with grpc.aio.insecure_channel(target) as channel:
        driver: Driver
        match system:
            case "etcd-v3lock":
                driver = V3LockDriver(channel)
            case "etcd-txn":
                driver = TxnDriver(channel)
            case _:
                raise ValueError(f"unknown system {system}")
        try:
            yield driver
        finally:
            await driver.close()
