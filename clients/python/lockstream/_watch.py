"""Watching locks: how they stand at one revision, then every change after it, over all endpoints."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

import grpc

from lockstream._errors import HistoryCompacted, LockstreamError, ServerUnavailable, SlowConsumer
from lockstream._reasons import LossReason
from lockstream._translation import from_rpc
from lockstream._views import OpenEnum, entry_view, lock_view
from lockstream.v1 import service_pb2

if TYPE_CHECKING:
    from lockstream._channels import Channel, Channels
    from lockstream._options import Options
    from lockstream._views import EntryView, LockView

    Call: TypeAlias = grpc.aio.UnaryStreamCall[service_pb2.WatchLocksRequest, service_pb2.WatchLocksResponse]


_REASONS: dict[int, LossReason] = {reason.value: reason for reason in LossReason}


class ChangeKind(OpenEnum):
    """What happened to an entry. The values are those of `lockstream.v1.LockChange.Kind`."""

    UNKNOWN = 0
    """What only a newer server has a name for. The entry is as it stands since."""
    GRANTED = 1
    """It holds now."""
    QUEUED = 2
    """It is new and waits."""
    RELEASED = 3
    """It held, and was released by its session or deleted by hand; etcd does not tell these apart."""
    LOST = 4
    """It held, and its session ended or it was evicted."""
    LEFT = 5
    """It waited, and is gone."""
    CHANGED = 6
    """Its value, labels or mode changed. Or its session is over, and it is in `EntryState.DELAY` until it is LOST."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChange:
    """One thing that happened to one entry of a lock."""

    kind: ChangeKind
    name: str
    entry: EntryView
    """The entry as it stands now, or stood last."""
    reason: LossReason | None
    """For LOST: why, as far as etcd's history tells, and as this client has a name for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocksSnapshot:
    """How every watched lock that is held or awaited stands. Whatever was known before counts no longer."""

    revision: int
    locks: tuple[LockView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChanges:
    """What one revision changed, in order."""

    revision: int
    changes: tuple[LockChange, ...]


class LockWatch:
    """Tells of locks: first a `LocksSnapshot`, then `LockChanges`, none left out. Made by `Client.watch_locks`.

        async with client.watch_locks(prefix="reports/") as watch:
            async for told in watch:
                ...

    A broken connection is not seen: the watch goes on at the next endpoint, after the last revision that it told of. A
    reader too slow for the server is cut off by it, and goes on likewise. When etcd has compacted the history in
    between away, there is a second `LocksSnapshot` in place of the changes; so a reader has to expect one at any time.

    It ends with `close`, the end of `async with`, or the end of the client. Without a first answer within the connect
    timeout it raises what the last attempt raised; after that it tries for ever. One reader at a time.
    """

    def __init__(self, channels: Channels, options: Options, request: service_pb2.WatchLocksRequest) -> None:
        self._joined: tuple[Channel, Call] | None = None
        self._loop = asyncio.get_running_loop()
        self._channels = channels
        self._options = options
        self._request = request
        self._backoff = options.backoff()
        self._locks: list[LockView] = []
        """Those of the snapshot that have come so far."""
        self._changes: list[LockChange] = []
        """Those of the next revision that have come so far."""
        self._deadline: float | None = self._loop.time() + options.connect_timeout
        self._closed = asyncio.Event()

    @property
    def revision(self) -> int:
        """The etcd revision up to which everything was told, from where another watch can go on. At first 0."""
        return self._request.after_revision

    async def close(self) -> None:
        """End the watch: whoever awaits it sees the end at once."""
        self._closed.set()
        self._leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __del__(self) -> None:
        """A watch that is forgotten is left; gRPC itself keeps a call until its end."""
        if self._joined is not None and not self._loop.is_closed():
            # Whoever forgets it, or the garbage collector, may be on another thread.
            self._loop.call_soon_threadsafe(_hang_up, self._channels, *self._joined)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LocksSnapshot | LockChanges:
        """What is told next. Cancelling it loses nothing: the next call tells that."""
        task = asyncio.current_task()
        cancelling = task.cancelling() if task else 0
        try:
            while not self._closed.is_set():
                response = await self._receive()
                if response is not None and (told := self._take(response)) is not None:
                    return told
        except asyncio.CancelledError:
            self._leave()  # gRPC ends a call whose reader is cancelled
            if not self._closed.is_set() or (task and task.cancelling() > cancelling):
                raise
            # Nobody cancelled the task: that was our call, which `close` ended.
        raise StopAsyncIteration

    async def _receive(self) -> service_pb2.WatchLocksResponse | None:
        """The next message; None after a failure that was got over."""
        error: LockstreamError = ServerUnavailable("the server ended the watch")
        try:
            _, call = self._joined or self._join()
            if self._request.after_revision:
                await call.wait_for_connection()
                self._deadline = None  # this server took it, though there may be nothing to tell for long
                response = await call.read()
            else:
                async with asyncio.timeout(self._options.connect_timeout / len(self._channels)):
                    response = await call.read()
            if isinstance(response, service_pb2.WatchLocksResponse):
                return response
        except TimeoutError:
            error = ServerUnavailable("the server did not answer in time")
        except grpc.aio.AioRpcError as failure:
            error = from_rpc(failure)
        await self._recover(error)
        return None

    def _join(self) -> tuple[Channel, Call]:
        """Ask the endpoint whose turn it is."""
        channel = self._channels.current()
        channel.streams += 1
        self._joined = channel, channel.stub.WatchLocks(self._request)
        return self._joined

    def _leave(self) -> None:
        """Have nothing more to do with the call; half a snapshot or half a revision is of no use after that."""
        joined, self._joined = self._joined, None
        self._locks.clear()
        self._changes.clear()
        if joined is not None:
            _hang_up(self._channels, *joined)

    def _take(self, response: service_pb2.WatchLocksResponse) -> LocksSnapshot | LockChanges | None:
        """What the message completes: a snapshot or a revision. None for a part, or when only the revision moved on."""
        self._backoff.reset()
        self._deadline = None
        revision = response.revision
        if response.WhichOneof("told") == "snapshot":
            self._locks += (lock_view(lock, revision) for lock in response.snapshot.locks)
            if not response.snapshot.complete:
                return None
            locks, self._locks = tuple(self._locks), []
            self._request.after_revision = revision
            return LocksSnapshot(revision=revision, locks=locks)
        self._changes += map(_lock_change, response.changes.changes)
        if revision <= self._request.after_revision:
            return None  # there is more to come of the revision that these are of
        changes, self._changes = tuple(self._changes), []
        self._request.after_revision = revision
        return LockChanges(revision=revision, changes=changes) if changes else None

    async def _recover(self, error: LockstreamError) -> None:
        """The call failed: see that another can be made, or raise."""
        if self._joined is not None and not isinstance(error, SlowConsumer):
            self._channels.failed(self._joined[0])
        self._leave()
        if isinstance(error, HistoryCompacted) and self._request.after_revision:
            self._request.after_revision = 0
            return
        # Once it ran, a failure without a reason is the connection's, whatever gRPC calls it.
        worked = self._deadline is None and error.reason is None
        pause = self._backoff.next()
        late = self._deadline is not None and self._loop.time() + pause >= self._deadline
        if late or not (error.retryable or worked):
            raise error
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._closed.wait()


def _hang_up(channels: Channels, channel: Channel, call: Call) -> None:
    call.cancel()
    channels.left(channel)


def _lock_change(change: service_pb2.LockChange) -> LockChange:
    return LockChange(
        kind=ChangeKind(change.kind),
        name=change.name,
        entry=entry_view(change.entry),
        reason=_REASONS.get(change.reason),
    )
