"""The call that goes on looking: WatchLocks."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from google.protobuf.message import Message

from lockstream.v1 import service_pb2
from lockstream_server.core.errors import LockError, Reason, invalid
from lockstream_server.core.model import MAX_ID, check_name
from lockstream_server.core.observing import LockView, RevisionChanges, Watched
from lockstream_server.rpc import fields, views
from lockstream_server.rpc.handlers import Context
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.observers import Observer
from lockstream_server.sessions.past import TURN_SECONDS, Past, Replay
from lockstream_server.store.port import FutureRevisionError

MESSAGE_BYTES = 262_144
"""Locks and changes go into the next message once one is as large as this, well below what gRPC takes by default."""
COPIED_LOCKS = 5_000
"""A snapshot of a table with more locks is read from the store, because copying them would hold up everybody else."""
NEAR_REVISIONS = 1_000
"""How far an observer may be behind when changes begin to be kept for it."""

Told = service_pb2.WatchLocksResponse
M = TypeVar("M", bound=Message)


def asked(request: service_pb2.WatchLocksRequest) -> tuple[Watched, int]:
    """What to watch, and after which revision. Raises LockError (INVALID_ARGUMENT)."""
    match request.WhichOneof("names"):
        case "name":
            check_name(request.name)
            watched = Watched(request.name)
        case "prefix":
            fields.prefix(request.prefix)
            watched = Watched(None, request.prefix)
        case _:
            raise invalid("names", "must be set: to a name, or to a prefix, which may be empty")
    if request.after_revision > MAX_ID:
        raise invalid("after_revision", "is beyond what etcd can have committed")
    return watched, request.after_revision


class WatchCall:
    """One call: a snapshot, or what happened after a revision; then every change.

    Changes are written as the client takes them. Meanwhile they queue up, and when they are too many the writer is
    stopped wherever it is. Until the client is told of the past, it has to take each message within a time, and all
    of them within another: it keeps a table of the past, or a copy, of which there are to be few.
    """

    def __init__(self, host: Host, past: Past, watched: Watched, context: Context) -> None:
        self._host = host
        self._past = past
        self._watched = watched
        self._context = context
        self._observer = Observer(watched, host.bounds.observer_changes, cut=self._cut)
        self._told = 0
        """The revision up to which everything was written."""
        self._patience: float | None = host.bounds.observer_timeout
        """Seconds for the client to take a message; None for as long as it likes."""
        self._writing: asyncio.Task[None] | None = None

    async def run(self, after: int) -> None:
        """Write until the client leaves. Raises LockError for any other end."""
        observers = self._host.witness.observers
        observers.add(self._observer, self._host.bounds.observers)
        self._writing = asyncio.ensure_future(self._write(after))
        try:
            await asyncio.wait((self._writing,))
        finally:
            observers.remove(self._observer)
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        if self._writing.cancelled() and self._observer.error is not None:
            raise self._observer.error
        self._writing.result()

    def _cut(self) -> None:
        if self._writing is not None:
            self._writing.cancel()

    async def _write(self, after: int) -> None:
        if after:
            async with self._turn():
                await self._catch_up(after)
        elif self._watched.name is None and len(self._host.table.locks) > COPIED_LOCKS:
            async with self._turn():
                revision = self._listen()
                await self._write_snapshot(self._watched.locks(await self._past.table(revision)))
        else:
            self._listen()
            await self._write_snapshot([*self._watched.locks(self._host.table)])  # at once, because the table moves on
        self._patience = None
        while revisions := await self._observer.take():
            for told in revisions:
                if told.revision > self._told:
                    await self._write_changes(told)
        if self._observer.error is not None:
            raise self._observer.error

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The right to keep a table of the past. Raises LockError (SLOW_CONSUMER) when it has lasted too long."""
        async with self._past.turns:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    yield
            except TimeoutError:
                detail = f"the client was not told of the past within {TURN_SECONDS:g} s"
                raise LockError(Reason.SLOW_CONSUMER, detail) from None

    def _listen(self) -> int:
        """Keep what the table folds from here on. Returns the revision that it has reached."""
        self._observer.listening = True
        self._told = self._host.table.revision
        return self._told

    async def _write_snapshot(self, locks: Iterable[LockView]) -> None:
        for portion, last in _portions(views.lock(lock) for lock in locks):
            snapshot = Told.Snapshot(locks=portion, complete=last)
            await self._send(Told(revision=self._told, snapshot=snapshot))

    async def _catch_up(self, after: int) -> None:
        """Tell what happened since a revision, and that it is told."""
        try:
            replay = await self._past.replay(after)
        except FutureRevisionError:
            raise invalid("after_revision", "is beyond what etcd has committed") from None
        self._told = after
        # A long past is told before anything new has to be kept. Then nothing is missed: what the table folds from here
        # on is kept, what it has folded so far is told again.
        while self._host.table.revision - self._told > NEAR_REVISIONS:
            await self._replay(replay, self._host.table.revision)
        self._observer.listening = True
        await self._replay(replay, self._host.table.revision)
        await self._send(Told(revision=self._told, changes=Told.Changes()))

    async def _replay(self, replay: Replay, until: int) -> None:
        async with aclosing(replay.until(until, self._watched)) as history:
            async for told in history:
                await self._write_changes(told)
        # A server may lag behind another, which told the client of later revisions: those are not told again.
        self._told = max(self._told, until)

    async def _write_changes(self, told: RevisionChanges) -> None:
        for portion, last in _portions(views.change(change) for change in told.changes):
            # Whoever has read only a part of a revision has all of it still to read.
            revision = told.revision if last else self._told
            await self._send(Told(revision=revision, changes=Told.Changes(changes=portion)))
        self._told = told.revision

    async def _send(self, message: Told) -> None:
        """Write a message. Raises LockError (SLOW_CONSUMER) if the client does not take it in time."""
        try:
            async with asyncio.timeout(self._patience):
                await self._context.write(message)
        except TimeoutError:
            detail = f"the client did not read a message within {self._patience:g} s"
            raise LockError(Reason.SLOW_CONSUMER, detail) from None


def _portions(messages: Iterable[M]) -> Iterator[tuple[list[M], bool]]:
    """What goes into each message, and whether that is the last."""
    portion: list[M] = []
    size = 0
    for message in messages:
        if size >= MESSAGE_BYTES:
            yield portion, False
            portion, size = [], 0
        portion.append(message)
        size += message.ByteSize()
    yield portion, True
