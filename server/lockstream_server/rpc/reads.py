"""The calls that look once: at a lock, a token, a session, or a page of them."""

from collections.abc import Iterable
from heapq import nlargest

from lockstream.v1 import service_pb2, service_pb2_grpc
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.estimates import turns
from lockstream_server.core.model import check_name, parse_session, session_text
from lockstream_server.core.observing import lock_view
from lockstream_server.core.queue import Queue
from lockstream_server.core.table import LiveSession, Table
from lockstream_server.rpc import fields, paging, views
from lockstream_server.rpc.handlers import Context, typed_errors
from lockstream_server.rpc.paging import Cursor
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.past import Past, table_of
from lockstream_server.store.port import FutureRevisionError

MAX_EVICTIONS = 1_000
"""Evictions in one answer."""


class Reads(service_pb2_grpc.LockServiceServicer):
    """Answers from the table, or from the store where it has to be current or of an earlier revision."""

    def __init__(self, host: Host, past: Past) -> None:
        self._host = host
        self._past = past

    @typed_errors
    async def GetLock(self, request: service_pb2.GetLockRequest, context: Context) -> service_pb2.GetLockResponse:
        """Read one lock."""
        check_name(request.name)
        table = await self._read_lock(request.name) if request.linearizable else self._current_table()
        queue = table.locks.get(request.name)
        lock = views.lock(lock_view(request.name, queue, self._host.table))
        mean = self._host.witness.hold_times.mean(request.name)
        if mean is not None and queue is not None:
            views.estimate(lock, mean, turns(queue.entries))
        return service_pb2.GetLockResponse(lock=lock, revision=table.revision)

    @typed_errors
    async def CheckToken(
        self, request: service_pb2.CheckTokenRequest, context: Context
    ) -> service_pb2.CheckTokenResponse:
        """Tell whether a token is current."""
        check_name(request.name)
        token = fields.identifier("token", request.token)
        table = await self._read_lock(request.name)
        queue = table.locks.get(request.name)
        holders = queue.entries[: queue.holding] if queue is not None else []
        highest = self._host.witness.highest_tokens.of(request.name)
        return service_pb2.CheckTokenResponse(
            held=any(entry.token == token and not self._host.table.is_over(entry.session) for entry in holders),
            revision=table.revision,
            highest_token=max(highest, *(entry.token for entry in holders)) if holders else highest,
        )

    @typed_errors
    async def ListLocks(self, request: service_pb2.ListLocksRequest, context: Context) -> service_pb2.ListLocksResponse:
        """List locks by name."""
        size = paging.page_size(request.page_size)
        fields.prefix(request.prefix)
        session = fields.session_id(request.session_id) if request.session_id else None
        filters = ("locks", request.prefix, request.held, request.contended, request.session_id)
        cursor = paging.decode(request.page_token, *filters)
        table = await self._table_at(cursor)
        after = cursor.after if cursor is not None else ""
        names = (
            name
            for name, queue in _locks(table, session)
            if name > after and name.startswith(request.prefix) and _passes(queue, request)
        )
        locks, last = paging.page(names, size, lambda name: views.lock(lock_view(name, table.locks[name], table)))
        return service_pb2.ListLocksResponse(
            locks=locks,
            next_page_token=paging.encode(Cursor(table.revision, last), *filters) if last else "",
            revision=table.revision,
        )

    @typed_errors
    async def GetSession(
        self, request: service_pb2.GetSessionRequest, context: Context
    ) -> service_pb2.GetSessionResponse:
        """Read one session."""
        identifier = fields.session_id(request.session_id)
        table = self._current_table()
        live = table.sessions.get(identifier)
        if live is None or live.record is None:
            raise views.session_not_found(identifier)
        found = views.session(identifier, live.record, live, table)
        return service_pb2.GetSessionResponse(session=found, revision=table.revision)

    @typed_errors
    async def ListSessions(
        self, request: service_pb2.ListSessionsRequest, context: Context
    ) -> service_pb2.ListSessionsResponse:
        """List sessions by identifier."""
        size = paging.page_size(request.page_size)
        filters = ("sessions", request.client_name, request.server)
        cursor = paging.decode(request.page_token, *filters)
        after = parse_session(cursor.after) if cursor is not None else 0
        if after is None:
            raise paging.not_ours()
        table = await self._table_at(cursor)
        records = {
            session_text(identifier): (identifier, live.record, live)
            for identifier, live in table.sessions.items()
            if identifier > after and live.record is not None and _is_asked_for(live, request)
        }
        sessions, last = paging.page(records, size, lambda text: views.session(*records[text], table))
        return service_pb2.ListSessionsResponse(
            sessions=sessions,
            next_page_token=paging.encode(Cursor(table.revision, last), *filters) if last else "",
            revision=table.revision,
        )

    @typed_errors
    async def ListEvictions(
        self, request: service_pb2.ListEvictionsRequest, context: Context
    ) -> service_pb2.ListEvictionsResponse:
        """List evictions, the newest first."""
        if request.name:
            check_name(request.name)
        session = fields.session_id(request.session_id) if request.session_id else None
        table = self._current_table()
        records = table.evictions.values() if session is None else table.evictions.of_session(session)
        asked_for = (record for record in records if request.name in ("", record.name))
        newest = nlargest(MAX_EVICTIONS, asked_for, key=lambda record: (record.at, record.token))
        return service_pb2.ListEvictionsResponse(
            evictions=[views.eviction(record) for record in newest], revision=table.revision
        )

    def _current_table(self) -> Table:
        """The table, once it was read. Raises LockError (STORE_UNAVAILABLE) before."""
        if not self._host.table.revision:
            raise LockError(Reason.STORE_UNAVAILABLE, "this server has not reached etcd yet")
        return self._host.table

    async def _table_at(self, cursor: Cursor | None) -> Table:
        """The table at the revision of a listing: as it is now for the first page, as it was then for the others.

        It may be the living one: use it before the next await.
        """
        table = self._current_table()
        if cursor is None or cursor.revision == table.revision:
            return table
        try:
            return await self._past.table(cursor.revision)
        except FutureRevisionError:
            raise paging.not_ours() from None

    async def _read_lock(self, name: str) -> Table:
        """A table of one lock alone, read linearizably: its grants follow from its entries and nothing else."""
        return table_of(await self._host.store.read_lock(name))


def _locks(table: Table, session: int | None) -> Iterable[tuple[str, Queue]]:
    """All locks, or those that a session holds or awaits."""
    if session is None:
        return table.locks.items()
    live = table.sessions.get(session)
    return {name: table.locks[name] for name, _ in live.entries}.items() if live is not None else ()


def _passes(queue: Queue, request: service_pb2.ListLocksRequest) -> bool:
    held = not request.held or queue.holding > 0
    return held and (not request.contended or queue.holding < len(queue.entries))


def _is_asked_for(live: LiveSession, request: service_pb2.ListSessionsRequest) -> bool:
    record = live.record
    return (
        record is not None and request.client_name in ("", record.client_name) and request.server in ("", record.server)
    )
