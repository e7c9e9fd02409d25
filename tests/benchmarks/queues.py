"""Waiting until a queue stands, by looking at etcd: that works alike for every system."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import grpc.aio
from etcd3 import etcdrpc

_POLL_SECONDS = 0.01


class EtcdQueues:
    """The queues of locks as the keys in etcd show them."""

    def __init__(self, kv: etcdrpc.KVStub) -> None:
        self._kv = kv

    @classmethod
    @asynccontextmanager
    async def at(cls, endpoint: str) -> AsyncIterator[Self]:
        """Look at the etcd at `endpoint` (`host:port`)."""
        async with grpc.aio.insecure_channel(endpoint) as channel:
            yield cls(etcdrpc.KVStub(channel))

    async def wait_for_length(self, prefix: str, length: int) -> None:
        """Return when `length` keys or more, of holders and waiters, are under `prefix`."""
        start = prefix.encode()
        end = start[:-1] + bytes([start[-1] + 1])
        request = etcdrpc.RangeRequest(key=start, range_end=end, count_only=True)
        while (await self._kv.Range(request)).count < length:  # noqa: ASYNC110 - etcd is asked
            await asyncio.sleep(_POLL_SECONDS)
