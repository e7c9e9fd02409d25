"""Reading what was: the state at an earlier revision, and the revisions since.

etcd reads any revision that it has not compacted yet, and a watch may begin in the past. Such a watch does not say when
it has arrived at the present: etcd before 3.5.8 answers a request for progress at once, even before events that it has
yet to send. So it ends at an event: one at or after the last revision wanted. Usually the feed has seen one already.
Where it has not, because it began with a snapshot and nothing has happened since, a key is written that means nothing.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
from etcd3 import etcdrpc

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.store.etcd.client import EtcdClient
from lockstream_server.store.etcd.watch import SILENCE_SECONDS, Watch, decode_events, read_everything
from lockstream_server.store.keys import Keys
from lockstream_server.store.port import FutureRevisionError


class History:
    """The past of everything under the prefix."""

    def __init__(self, client: EtcdClient, keys: Keys, watch: Watch) -> None:
        self._client = client
        self._keys = keys
        self._watch = watch

    async def state(self, revision: int) -> Snapshot:
        """See `Store.read_state`."""
        try:
            return await read_everything(self._client, self._keys, revision)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                if "future" in (error.details() or ""):
                    raise FutureRevisionError from None
                raise compacted(revision) from None
            raise unavailable(error) from error

    async def since(self, after: int, until: int) -> AsyncGenerator[Revision, None]:
        """See `Store.read_history`."""
        if after >= until:
            return
        if until > self._watch.newest_event:
            await self._put_fence()
        try:
            async with aclosing(self._watched(after)) as revisions:
                async for revision in revisions:
                    if revision.number <= until:
                        yield revision
                    if revision.number >= until:
                        return
        except grpc.aio.AioRpcError as error:
            self._client.refused(error)
            raise unavailable(error) from error
        except asyncio.InvalidStateError:  # grpc's word for a write to a call that has ended
            raise LockError(Reason.STORE_UNAVAILABLE, "etcd ended the watch") from None

    async def _watched(self, after: int) -> AsyncGenerator[Revision, None]:
        """Every event from then on, by a watch of its own.

        There must be another event to come: etcd is taken for gone when it is silent for long.
        """
        connection = self._client.connection
        call: Any = connection.watch(metadata=(*await self._client.metadata(connection), ("hasleader", "true")))
        create = etcdrpc.WatchCreateRequest(key=self._keys.prefix, range_end=self._keys.end, start_revision=after + 1)
        try:
            await call.write(etcdrpc.WatchRequest(create_request=create))
            while (response := await _read(call)) is not grpc.aio.EOF:
                if response.compact_revision:
                    raise compacted(after)
                if response.canceled:
                    raise LockError(Reason.STORE_UNAVAILABLE, f"etcd cancelled the watch: {response.cancel_reason}")
                for revision in decode_events(self._keys, response.events):
                    yield revision
            raise LockError(Reason.STORE_UNAVAILABLE, "etcd ended the watch")
        finally:
            call.cancel()

    async def _put_fence(self) -> None:
        try:
            await self._client.call(lambda connection: connection.put, etcdrpc.PutRequest(key=self._keys.fence))
        except grpc.aio.AioRpcError as error:
            raise unavailable(error) from error


async def _read(call: Any) -> Any:
    """The next response. Raises LockError (STORE_UNAVAILABLE) when none comes for long."""
    reading = asyncio.ensure_future(call.read())
    try:
        await asyncio.wait((reading,), timeout=SILENCE_SECONDS)
        if not reading.done():
            raise LockError(Reason.STORE_UNAVAILABLE, "etcd does not send its history")
        if reading.cancelled():  # grpc's way to say that the channel was closed
            raise LockError(Reason.STORE_UNAVAILABLE, "the connection to etcd was closed")
        return reading.result()
    finally:
        reading.cancel()


def compacted(revision: int) -> LockError:
    """What happened since the revision can no longer be told."""
    return LockError(Reason.HISTORY_COMPACTED, f"etcd has compacted its history beyond revision {revision}")


def unavailable(error: grpc.aio.AioRpcError) -> LockError:
    """The watch broke, or etcd refuses what it should not, such as for missing permissions."""
    return LockError(Reason.STORE_UNAVAILABLE, f"etcd: {error.code().name}: {error.details()}")
