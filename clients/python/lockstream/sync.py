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

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack

from lockstream import _client
from lockstream._errors import LockLost, LockstreamError, WouldBlock
from lockstream._owners import Owners
from lockstream._portal import Portal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from lockstream import _lock, _session
    from lockstream._client import ConnectOptions
    from lockstream._context import AcquireOptions
    from lockstream._reasons import LossReason
    from lockstream._views import LockView, SessionView

__all__ = ["Client", "Lock", "Loss", "Session", "connect"]

P = ParamSpec("P")
T = TypeVar("T")


class Loss:
    """Whether and why a lock was lost."""

    def __init__(self, portal: Portal, loss: _lock.Loss) -> None:
        self._portal = portal
        self._loss = loss

    @property
    def reason(self) -> LossReason | None:
        """Why, or None."""
        return self._loss.reason

    def is_set(self) -> bool:
        """Whether the lock was lost."""
        return self._loss.is_set()

    def wait(self) -> LossReason | None:
        """Block until the lock is lost, and tell why; or until it is released, which is None."""
        return self._portal.call(self._loss.wait)


class Lock:
    """A granted lock."""

    def __init__(self, portal: Portal, lock: _lock.Lock) -> None:
        self._portal = portal
        self._lock = lock
        self.lost = Loss(portal, lock.lost)

    @property
    def name(self) -> str:
        """The name of the lock."""
        return self._lock.name

    @property
    def token(self) -> int:
        """The fencing token. What the lock protects is to refuse anything older."""
        return self._lock.token

    @property
    def shared(self) -> bool:
        """Whether other shared holders may hold it too."""
        return self._lock.shared

    @property
    def owner(self) -> str:
        """Who within the session holds it."""
        return self._lock.owner

    @property
    def held(self) -> bool:
        """Whether the lock is held at this moment, by the local clock."""
        return self._lock.held

    def check(self) -> None:
        """Raise LockLost when the lock was lost, NotHeld when it was released."""
        self._lock.check()

    def release(self) -> None:
        """Give the lock up; raises as the asynchronous `Lock.release`."""
        self._portal.call(self._lock.release)

    def __repr__(self) -> str:
        return repr(self._lock)


class Session:
    """As `lockstream.Session`, blocking. Safe to share between threads; each is an owner."""

    def __init__(self, portal: Portal, session: _session.Session, owners: Owners) -> None:
        self._portal = portal
        self._session = session
        self._owners = owners

    @property
    def id(self) -> str:
        """The session's name in the service. Empty before it is open."""
        return self._session.id

    @property
    def ttl(self) -> float:
        """The granted TTL in seconds."""
        return self._session.ttl

    @property
    def remaining(self) -> float:
        """For how many seconds from now the lease is proven."""
        return self._session.remaining

    @property
    def ended(self) -> LockstreamError | None:
        """What ended the session, or None while it lives."""
        return self._session.ended

    def acquire(self, name: str, **options: Unpack[AcquireOptions]) -> Lock:
        """Acquire a lock and return it held. Options and errors are those of `lockstream.Session`.

        The callbacks are called on the client's own thread: they must not block.
        """
        options.setdefault("owner", self._owners.name(threading.current_thread()))
        acquire = functools.partial(self._session.acquire, name, **options)
        return Lock(self._portal, self._portal.call(acquire, undo=lambda lock: lock.release()))

    def try_lock(self, name: str, *, shared: bool = False) -> Lock | None:
        """Acquire a lock if it is free, or return None at once."""
        try:
            return self.acquire(name, shared=shared, wait=0)
        except WouldBlock:
            return None

    @contextmanager
    def lock(self, name: str, **options: Unpack[AcquireOptions]) -> Iterator[Lock]:
        """Hold a lock while the body runs. LockLost at its end when the lock was lost meanwhile."""
        lock = self.acquire(name, **options)
        try:
            yield lock
        except BaseException:
            if lock.held:
                _release_quietly(lock)
            raise
        reason = lock.lost.reason
        if reason is not None:
            raise LockLost(lock.name, lock.token, reason)
        lock.release()

    def locked(self, name: str, **options: Unpack[AcquireOptions]) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """A decorator: each call of the function holds the lock."""

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> T:
                with self.lock(name, **options):
                    return function(*args, **kwargs)

            return call

        return decorate

    def wait_until_free(self, name: str, *, wait: float | None = None) -> None:
        """Return once everybody who holds or awaits the lock by now is gone. Keeps nothing."""
        self.acquire(name, wait=wait).release()

    def open(self) -> None:
        """Open the session; `with` does this."""
        self._portal.call(self._session.open)

    def close(self) -> None:
        """End the session: every lock and queue place is free on return."""
        self._portal.call(self._session.close)

    def __enter__(self) -> Session:
        self.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(lambda: self._session.__aexit__(None, None, None))

    def __repr__(self) -> str:
        return repr(self._session)


class Client:
    """As `lockstream.Client`, blocking. Made by `connect`."""

    def __init__(self, portal: Portal, client: _client.Client) -> None:
        self._portal = portal
        self._client = client
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
        session = Session(self._portal, self._portal.call(self._client.shared_session), self._owners)
        with session.lock(name, **options) as lock:
            yield lock

    def get_lock(self, name: str, *, linearizable: bool = False) -> LockView:
        """One lock; see `lockstream.Client.get_lock`."""
        return self._portal.call(lambda: self._client.get_lock(name, linearizable=linearizable))

    def list_locks(self, prefix: str = "") -> list[LockView]:
        """The locks that are held or awaited and whose names begin with `prefix`, by name."""
        return self._portal.call(lambda: self._client.list_locks(prefix))

    def check_token(self, name: str, token: int) -> bool:
        """Whether this fencing token holds the lock at this moment. Linearizable."""
        return self._portal.call(lambda: self._client.check_token(name, token))

    def get_session(self, session_id: str) -> SessionView:
        """One session; NotFound when there is none."""
        return self._portal.call(lambda: self._client.get_session(session_id))

    def list_sessions(self) -> list[SessionView]:
        """The live sessions of the whole service, by identifier."""
        return self._portal.call(self._client.list_sessions)

    def close(self) -> None:
        """Close the sessions that are still open, which frees their locks, and the connections."""
        try:
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


def connect(target: str = _client.DEFAULT_TARGET, **options: Unpack[ConnectOptions]) -> Client:
    """Make a client for the servers at `target`; see `lockstream.connect`."""
    connecting = _client.connect(target, **options)
    portal = Portal()

    async def start() -> _client.Client:
        return await connecting

    try:
        return Client(portal, portal.call(start))
    except BaseException:
        portal.close()
        raise


def _release_quietly(lock: Lock) -> None:
    """Release after the body failed: its exception tells more than a failure to release would."""
    try:
        lock.release()
    except LockstreamError:
        return
