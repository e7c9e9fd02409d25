"""Renewing leases: one LeaseKeepAlive stream for all of them."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
from etcd3 import etcdrpc

from lockstream_server.store.etcd.client import RETRY_SECONDS, EtcdClient
from lockstream_server.store.etcd.streams import StreamBrokenError, until_first

log = logging.getLogger(__name__)

Confirm = Callable[[bool], None]


class Pending:
    """The renewals of one lease that are unanswered.

    An answer is only worth something to those who asked before the request that it answers was sent; whoever asks later
    waits for the next.
    """

    __slots__ = ("asked", "later", "since")

    def __init__(self, confirm: Confirm, since: float) -> None:
        self.asked = [confirm]
        self.later: list[Confirm] = []
        self.since = since
        """When the request was sent, by the event loop's clock."""


class KeepAlives:
    """Sends renewals and hands out their answers. Runs as one task."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client
        self._pending: dict[int, Pending] = {}
        self._unsent: deque[int] = deque()
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"KeepAlives(pending={len(self._pending)}, unsent={len(self._unsent)})"

    def renew(self, lease: int, confirm: Confirm) -> None:
        """Ask for a renewal."""
        pending = self._pending.get(lease)
        if pending is not None:
            pending.later.append(confirm)
            return
        self._pending[lease] = Pending(confirm, asyncio.get_running_loop().time())
        self._unsent.append(lease)
        self._wake.set()

    async def run(self) -> None:
        """Keep a stream open and use it, until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            connection = self._client.connection
            try:
                metadata = await self._client.metadata(connection)
                call = connection.lease_keep_alive(metadata=metadata)
                try:
                    self._begin_anew()
                    await until_first(self._write(call), self._read(call), self._watch_over())
                finally:
                    call.cancel()
            except grpc.aio.AioRpcError as error:
                self._client.refused(error)
                log.info("lease stream broke", extra={"code": error.code().name, "detail": error.details()})
            except StreamBrokenError as error:
                log.info("lease stream broke", extra={"endpoint": connection.endpoint, "detail": str(error)})
            self._client.failed(connection)
            await asyncio.sleep(RETRY_SECONDS)

    def _begin_anew(self) -> None:
        """A new stream: everything unanswered is asked again, for all who asked so far."""
        now = asyncio.get_running_loop().time()
        for pending in self._pending.values():
            pending.asked += pending.later
            pending.later = []
            pending.since = now
        self._unsent = deque(self._pending)

    async def _write(self, call: Any) -> None:
        while True:
            while self._unsent:
                await call.write(etcdrpc.LeaseKeepAliveRequest(ID=self._unsent.popleft()))
            self._wake.clear()
            await self._wake.wait()

    async def _read(self, call: Any) -> None:
        while (answer := await call.read()) is not grpc.aio.EOF:
            pending = self._pending.pop(answer.ID, None)
            if pending is None:
                continue
            for confirm in pending.asked:
                try:
                    confirm(answer.TTL > 0)
                except Exception:
                    # A defect in one session must not keep the others from being renewed.
                    log.exception("confirming a renewal failed")
            for confirm in pending.later:
                self.renew(answer.ID, confirm)

    async def _watch_over(self) -> None:
        """End when a renewal has waited for longer than an answer may take."""
        loop = asyncio.get_running_loop()
        timeout = self._client.options.request_timeout
        while True:
            oldest = min((pending.since for pending in self._pending.values()), default=loop.time())
            left = oldest + timeout - loop.time()
            if left <= 0:
                raise StreamBrokenError("no answer")
            await asyncio.sleep(left)
