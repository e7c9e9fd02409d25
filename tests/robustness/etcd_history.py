"""etcd's own history of the prefix, recorded while it happens by a watch of its own.

The record has no gaps. A watch that breaks goes on from the revision after the last one recorded. Should no member have
that any more, because it was compacted away, the record ends in an error rather than in a gap: a history with a hole
proves nothing.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from itertools import count
from typing import Any, Self

import grpc
from etcd3 import etcdrpc

from lockstream_server.store.etcd.client import Connection, EtcdClient, EtcdOptions
from lockstream_server.store.etcd.watch import DELETE
from lockstream_server.store.keys import range_end
from tests.robustness.history import Changed, HistoryBegan, Notebook, Stalled, now
from tests.support.waiting import eventually

RETRY_SECONDS = 0.05
PROGRESS_SECONDS = 1.0
"""How often a watch is asked for its progress."""
SILENCE_SECONDS = 3.0
"""A watch that says nothing for this long, although it was asked, is begun anew."""
STALL_SECONDS = 0.25
"""A pause of twice this is worth a record."""


class HistoryLostError(Exception):
    """A part of etcd's history was compacted before it was read."""


class EtcdRecorder(AbstractAsyncContextManager["EtcdRecorder"]):
    """Records the history of a prefix, which must be empty on entry, until exit.

    Every member is watched at once, and whoever tells a revision first is believed: a member that is frozen or cut off
    holds nothing up.

    Args:
        endpoints: `host:port` of the etcd members, best past the links that faults break.
        notebook: where to.
        prefix: of the keys.
    """

    def __init__(self, endpoints: Sequence[str], notebook: Notebook, prefix: str = "/lockstream/") -> None:
        self._endpoints = endpoints
        self._client = EtcdClient(EtcdOptions(endpoints=endpoints, dial_timeout=30))
        self._notebook = notebook
        self._prefix = prefix
        self._marks = count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._marked: set[bytes] = set()
        self.revision = 0
        """Everything up to this revision is on disk: etcd may be compacted up to here."""

    async def __aenter__(self) -> Self:
        there = await self._client.call(lambda connection: connection.range, self._everything())
        if there.count:
            await self._client.close()
            raise ValueError(f"there are {there.count} keys under {self._prefix} already")
        self.revision = there.header.revision
        self._notebook.write(HistoryBegan(now(), self.revision, self._prefix))
        self._tasks = [asyncio.ensure_future(self._follow(endpoint)) for endpoint in self._endpoints]
        self._tasks.append(asyncio.ensure_future(self._notice_stalls()))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    async def catch_up(self, within: float = 30.0) -> None:
        """Wait until everything that etcd has committed by now is recorded.

        A key written under the prefix and deleted again marks the place: what etcd says of a watch's progress may be
        ahead of what it has sent. The service takes no notice of such a key.

        Raises:
            HistoryLostError: the record is not whole.
            TimeoutError: etcd or the watches did not answer in time.
        """
        key = f"{self._prefix}mark/{os.getpid()}/{next(self._marks)}".encode()
        await self._client.call(lambda connection: connection.put, etcdrpc.PutRequest(key=key, value=b"-"))
        delete = etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=key))
        await self._client.call(lambda connection: connection.txn, etcdrpc.TxnRequest(success=[delete]))
        await eventually(lambda: key in self._marked or self.failed, "the record has caught up", timeout=within)
        self.check()

    def check(self) -> None:
        """Raise what ended the record, if anything has."""
        for task in self._tasks:
            if task.done():
                task.result()

    @property
    def failed(self) -> bool:
        """Whether the record has ended before its time; `check` tells why."""
        return any(task.done() for task in self._tasks)

    async def _follow(self, endpoint: str) -> None:
        """Watch one member, for as long as the history can be had from any."""
        connection = Connection(endpoint, None)
        try:
            while True:
                compacted = 0
                with suppress(grpc.aio.AioRpcError, TimeoutError, asyncio.InvalidStateError):  # broken or silent
                    compacted = await self._watch(connection)
                if compacted > self.revision + 1:
                    await self._told_by_another(compacted)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            await connection.channel.close()

    async def _notice_stalls(self) -> None:
        """Record when this process did not run: what was read then was read late."""
        while True:
            before = now()
            await asyncio.sleep(STALL_SECONDS)
            if now() > before + 2 * STALL_SECONDS:
                self._notebook.write(Stalled(now(), before))

    async def _told_by_another(self, compacted: int) -> None:
        """What this member has forgotten is known, or is on its way from another. Raises HistoryLostError."""
        try:
            what = f"revision {compacted - 1} from any member"
            await eventually(lambda: self.revision >= compacted - 1, what, timeout=SILENCE_SECONDS)
        except TimeoutError as error:
            raise HistoryLostError(f"history up to {compacted} was compacted; {error}") from None

    async def _watch(self, connection: Connection) -> int:
        """Watch on from what is recorded until the watch breaks; if by a compaction, its revision, else 0."""
        prefix = self._prefix.encode()
        create = etcdrpc.WatchCreateRequest(key=prefix, range_end=range_end(prefix), start_revision=self.revision + 1)
        # A member cut off from its leader ends the stream rather than keep it silent.
        call = connection.watch(metadata=(("hasleader", "true"),))
        asking = None
        try:
            await call.write(etcdrpc.WatchRequest(create_request=create))
            asking = asyncio.ensure_future(self._ask(call))
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    response = await call.read()
                if response is grpc.aio.EOF:
                    return 0
                self._record([event for event in response.events if event.kv.mod_revision > self.revision])
                if response.canceled:
                    return int(response.compact_revision)
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            call.cancel()

    def _record(self, events: Sequence[Any]) -> None:
        """Write down what is new in a message, which holds whole revisions."""
        if events:
            at = now()
            self._notebook.write(*(_changed(event, at) for event in events))
            self.revision = events[-1].kv.mod_revision
            marks = f"{self._prefix}mark/".encode()
            self._marked.update(event.kv.key for event in events if event.kv.key.startswith(marks))

    @staticmethod
    async def _ask(call: Any) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            await call.write(etcdrpc.WatchRequest(progress_request=etcdrpc.WatchProgressRequest()))

    def _everything(self) -> Any:
        prefix = self._prefix.encode()
        return etcdrpc.RangeRequest(key=prefix, range_end=range_end(prefix), count_only=True)


def _changed(event: Any, at: float) -> Changed:
    kv = event.kv
    deleted = event.type == DELETE
    return Changed(
        at=at,
        revision=kv.mod_revision,
        key=kv.key.decode("latin-1"),
        value=None if deleted else kv.value.decode("latin-1"),
        create_revision=0 if deleted else kv.create_revision,
        version=kv.version,
    )
