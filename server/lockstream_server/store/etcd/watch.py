"""The read path: everything under the prefix, in revision order.

Starts from a range read at one revision, page by page, and watches from there. A watch that breaks goes on where the
feed is; one whose start was compacted away begins again from a range read.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from etcd3 import etcdrpc

from lockstream_server.core.changes import (
    Change,
    EntryDeleted,
    EntryPut,
    EvictionDeleted,
    EvictionPut,
    Revision,
    SessionDeleted,
    SessionPut,
    Snapshot,
)
from lockstream_server.core.errors import LockError
from lockstream_server.core.model import FOREIGN
from lockstream_server.store.etcd.client import RETRY_SECONDS, EtcdClient
from lockstream_server.store.etcd.streams import StreamBrokenError, until_first
from lockstream_server.store.keys import (
    EntryKey,
    EvictionKey,
    Keys,
    SessionKey,
    decode_entry,
    decode_eviction,
    decode_session,
    range_end,
)
from lockstream_server.store.port import Feed

log = logging.getLogger(__name__)

PAGE_KEYS = 1000
"""Keys in one page of the range read."""
PROBE_SECONDS = 1.0
"""How often the watch is asked for its progress."""
DELETE = 1
"""Event.EventType.DELETE of etcd's kv.proto."""
SILENCE_SECONDS = 4.0
"""A watch from which nothing was heard for this long, although it was asked, is begun anew."""

PROGRESS = etcdrpc.WatchRequest(progress_request=etcdrpc.WatchProgressRequest())


class CompactedError(Exception):
    """The history from where the feed is has been compacted away."""


def decode_put(keys: Keys, kv: Any) -> EntryPut | SessionPut | EvictionPut | None:
    """What a written key means; None if nothing to us. A damaged entry is a foreign one: it still excludes."""
    match keys.parse(kv.key):
        case EntryKey(name, key, session):
            record = decode_entry(kv.value) if session is not None else None
            if record is None:
                return EntryPut(name, key, None, FOREIGN, kv.create_revision)
            return EntryPut(name, key, session, record, kv.create_revision)
        case SessionKey(session):
            session_record = decode_session(kv.value)
            return SessionPut(session, session_record, kv.mod_revision) if session_record is not None else None
        case EvictionKey(key):
            eviction = decode_eviction(kv.value)
            return EvictionPut(key, eviction) if eviction is not None else None
        case None:
            return None


def decode_delete(keys: Keys, kv: Any) -> EntryDeleted | SessionDeleted | EvictionDeleted | None:
    """What a deleted key means; None if nothing to us."""
    match keys.parse(kv.key):
        case EntryKey(name, key):
            return EntryDeleted(name, key)
        case SessionKey(session):
            return SessionDeleted(session)
        case EvictionKey(key):
            return EvictionDeleted(key)
        case None:
            return None


def decode_events(keys: Keys, events: Iterable[Any]) -> Iterator[Revision]:
    """The events of a watch response as whole revisions. etcd never splits a revision over two responses."""
    number = 0
    changes: list[Change] = []
    for event in events:
        kv = event.kv
        if kv.mod_revision != number:
            if number:
                yield Revision(number, changes)
            number, changes = kv.mod_revision, []
        change = decode_delete(keys, kv) if event.type == DELETE else decode_put(keys, kv)
        if change is not None:
            changes.append(change)
    if number:
        yield Revision(number, changes)


def decode_puts(keys: Keys, kvs: Iterable[Any]) -> list[EntryPut | SessionPut | EvictionPut]:
    """What is written under the prefix, as far as it means anything to us."""
    return [put for kv in kvs if (put := decode_put(keys, kv)) is not None]


def snapshot_of(puts: Iterable[EntryPut | SessionPut | EvictionPut], revision: int) -> Snapshot:
    """Everything that is written at one revision."""
    by_kind: dict[type, list[Any]] = {EntryPut: [], SessionPut: [], EvictionPut: []}
    for put in puts:
        by_kind[type(put)].append(put)
    return Snapshot(revision, by_kind[EntryPut], by_kind[SessionPut], by_kind[EvictionPut])


async def read_everything(client: EtcdClient, keys: Keys, revision: int = 0) -> Snapshot:
    """Everything under the prefix at a revision, page by page; 0 is the newest.

    Raises LockError (STORE_UNAVAILABLE) when etcd does not answer in time, grpc.aio.AioRpcError when it refuses.
    """
    puts: list[EntryPut | SessionPut | EvictionPut] = []
    start = keys.prefix
    while True:
        request = etcdrpc.RangeRequest(key=start, range_end=keys.end, limit=PAGE_KEYS, revision=revision)
        page = await client.call(lambda connection: connection.range, request)
        revision = revision or page.header.revision
        puts += decode_puts(keys, page.kvs)
        if not page.more:
            return snapshot_of(puts, revision)
        start = page.kvs[-1].key + b"\0"


class Watch:
    """Feeds the history. Runs as one task."""

    def __init__(self, client: EtcdClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._current_at = float("-inf")
        self._probed_at = float("-inf")
        self._heard_at = float("-inf")
        self._loop = asyncio.get_running_loop()
        self.resyncs = 0
        """How often the whole state was read, the first time included."""
        self.newest_event = 0
        """The newest revision that was fed as one of the history, not as part of a snapshot."""

    def __repr__(self) -> str:
        return f"Watch(lag={self.lag:.3f}s, resyncs={self.resyncs})"

    @property
    def lag(self) -> float:
        """Seconds since a moment at which the feed was known to be current; infinite before the first snapshot."""
        return self._loop.time() - self._current_at

    async def run(self, feed: Feed) -> None:
        """Feed until cancelled."""
        complete = False
        while True:
            connection = self._client.connection
            try:
                if not complete:
                    asked_at = self._loop.time()
                    feed.resync(await read_everything(self._client, self._keys))
                    self.resyncs += 1
                    self._current_at = asked_at
                    complete = True
                await self._watch(feed)
            except CompactedError:
                log.warning("the history was compacted; reading everything anew", extra={"from": feed.revision})
                complete = False
                continue
            except LockError as error:
                log.warning("cannot read from etcd", extra={"detail": error.detail})
            except grpc.aio.AioRpcError as error:
                self._client.refused(error)
                log.info("watch broke", extra={"code": error.code().name, "detail": error.details()})
            except StreamBrokenError as error:
                log.info("watch broke", extra={"endpoint": connection.endpoint, "detail": str(error)})
            self._client.failed(connection)
            await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self, feed: Feed) -> None:
        connection = self._client.connection
        # An etcd member cut off from its leader ends the stream rather than keep it silent.
        metadata = (*await self._client.metadata(connection), ("hasleader", "true"))
        call = connection.watch(metadata=metadata)
        # From what is known already, not from the next revision: newer releases of etcd tell no progress to a watch
        # that starts in the future, and so nothing at all while nobody writes.
        create = etcdrpc.WatchCreateRequest(
            key=self._keys.prefix, range_end=self._keys.end, start_revision=feed.revision
        )
        try:
            await call.write(etcdrpc.WatchRequest(create_request=create))
            await until_first(self._read(call, feed), self._probe(call))
        finally:
            call.cancel()

    async def _read(self, call: Any, feed: Feed) -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            self._heard_at = self._loop.time()
            if response.compact_revision:
                raise CompactedError
            if response.canceled:
                raise StreamBrokenError(response.cancel_reason or "cancelled by etcd")
            for revision in decode_events(self._keys, response.events):
                if revision.number > feed.revision:
                    feed.fold(revision)
                    self.newest_event = revision.number
            if not response.events and not response.created:
                self._current_at = self._probed_at

    async def _probe(self, call: Any) -> None:
        """Ask for progress again and again; give the watch up when it stays silent.

        While many write there may be no word of progress for long, but events are signs of life as well.
        """
        self._heard_at = self._loop.time()
        while True:
            self._probed_at = self._loop.time()
            await call.write(PROGRESS)
            await asyncio.sleep(PROBE_SECONDS)
            if self._loop.time() - self._heard_at > SILENCE_SECONDS:
                raise StreamBrokenError("silent")


def read_lock_request(keys: Keys, name: str) -> Any:
    """A linearizable read of every entry of a lock."""
    start = keys.lock(name)
    return etcdrpc.RangeRequest(key=start, range_end=range_end(start))
