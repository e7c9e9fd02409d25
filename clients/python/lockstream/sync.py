"""The client for programs without asyncio.

    with lockstream.sync.connect("localhost:7420") as client:
        with client.session(ttl=10) as session:
            with session.lock("reports/daily") as lock:
                write_report(fencing_token=lock.token)
                lock.check()  # raises LockLost at once when the lock was lost

It is the asynchronous client, run on a background thread: heartbeats go out and losses come in
while the program works or blocks. A blocking call can be interrupted with Ctrl-C and then leaves
nothing behind. A thread cannot be cancelled from outside, so a body is not: look at `lock.lost`, or
call `lock.check()`; LockLost is raised at the latest at the body's end.

A process that forks makes its own client afterwards: neither the thread nor gRPC survives a fork.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from lockstream import _connect
from lockstream._owners import Owners
from lockstream._portal import Portal
from lockstream._sync_election import Election, Leadership
from lockstream._sync_lock import Lock, Loss
from lockstream._sync_reads import Admin, Reads
from lockstream._sync_session import AcquireAllOptions, AcquireOptions, SemaphoreOptions, Session
from lockstream._sync_watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from lockstream import _client, _session
    from lockstream._asks import Part
    from lockstream._connect import ConnectOptions
    from lockstream._watch import LockChanges, LocksSnapshot, LockWatch

__all__ = ["Admin", "Client", "Election", "Leadership", "Lock", "Loss", "Session", "Watch", "connect"]


class Client(Reads):
    """As `lockstream.Client`, blocking. Made by `connect`."""

    def __init__(self, portal: Portal, client: _client.Client) -> None:
        super().__init__(portal, client)
        self.admin = Admin(portal, client.admin)
        """What operators may do to other people's locks."""
        self._owners = Owners("thread")

    def session(
        self,
        *,
        ttl: float | None = None,
        grace: float | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Session:
        """A new session, opened by `with` or `Session.open`; see `lockstream.Client.session`."""

        async def make() -> _session.Session:
            return self._client.session(ttl=ttl, grace=grace, name=name, metadata=metadata)

        return Session(self._portal, self._portal.call(make), self._owners)

    @contextmanager
    def lock(self, name: str, **options: Unpack[AcquireOptions]) -> Iterator[Lock]:
        """As `Session.lock`, in the client's own session, opened when first needed."""
        with self._shared_session().lock(name, **options) as lock:
            yield lock

    @contextmanager
    def semaphore(
        self, name: str, limit: int, *, permits: int = 1, **options: Unpack[SemaphoreOptions]
    ) -> Iterator[Lock]:
        """As `Session.semaphore`, in the client's own session."""
        with self._shared_session().semaphore(name, limit, permits=permits, **options) as lock:
            yield lock

    @contextmanager
    def lock_all(self, parts: Iterable[str | Part], **options: Unpack[AcquireAllOptions]) -> Iterator[Lock]:
        """As `Session.lock_all`, in the client's own session."""
        with self._shared_session().lock_all(parts, **options) as lock:
            yield lock

    def watch_locks(
        self, name: str | None = None, *, prefix: str | None = None, after_revision: int = 0
    ) -> Watch[LocksSnapshot | LockChanges]:
        """Watch one lock, or all whose names begin with `prefix`, or every lock; see `lockstream.LockWatch`."""

        async def begin() -> LockWatch:
            return self._client.watch_locks(name, prefix=prefix, after_revision=after_revision)

        return Watch(self._portal, self._portal.call(begin))

    def election(self, name: str, *, session: Session | None = None) -> Election:
        """The election of this name. Who campaigns does so in `session`; without one in the client's own."""
        return Election(self._portal, self._client.election(name), session.lock if session else self.lock)

    def close(self) -> None:
        """Close the sessions that are still open, which frees their locks, the watches and the connections."""
        try:
            with self._portal.unless_closed():
                self._portal.call(self._client.close)
        finally:
            self._portal.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _shared_session(self) -> Session:
        return Session(self._portal, self._portal.call(self._client.shared_session), self._owners)


def connect(target: str = _connect.DEFAULT_TARGET, **options: Unpack[ConnectOptions]) -> Client:
    """Make a client for the servers at `target`; see `lockstream.connect`."""
    connecting = _connect.connect(target, **options)
    portal = Portal()

    async def start() -> _client.Client:
        return await connecting

    try:
        return Client(portal, portal.call(start))
    except BaseException:
        portal.close()
        raise
