"""A session, for programs without asyncio."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypedDict, TypeVar, Unpack

from lockstream._context import HoldOptions, TermOptions, WaitOptions
from lockstream._errors import WouldBlock
from lockstream._sync_lock import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

    from lockstream import _lock, _session
    from lockstream._asks import Part
    from lockstream._errors import LockstreamError
    from lockstream._owners import Owners
    from lockstream._portal import Portal
    from lockstream._reasons import LossReason

P = ParamSpec("P")
T = TypeVar("T")


class Callbacks(TypedDict, total=False):
    """What is called with the lock, on the client's own thread: it must not block, nor call the client."""

    on_lost: Callable[[Lock, LossReason], object] | None
    on_yield: Callable[[Lock, float | None], object] | None


class AcquireOptions(TermOptions, Callbacks, total=False):
    """How a lock is asked for; see `lockstream.Session.acquire`."""


class SemaphoreOptions(HoldOptions, Callbacks, total=False):
    """How permits are asked for; see `lockstream.Session.semaphore`."""


class AcquireAllOptions(WaitOptions, Callbacks, total=False):
    """How several locks are asked for at once; see `lockstream.Session.acquire_all`."""


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

    def acquire(
        self,
        name: str,
        *,
        on_lost: Callable[[Lock, LossReason], object] | None = None,
        on_yield: Callable[[Lock, float | None], object] | None = None,
        **options: Unpack[TermOptions],
    ) -> Lock:
        """Acquire a lock and return it held. Options and errors are those of `lockstream.Session`.

        The callbacks are called on the client's own thread: they must not block, nor call the client. Let them set a
        `threading.Event`, or look at `lock.yield_requested` and `lock.lost` instead.
        """
        if options.get("owner") is None:
            options["owner"] = self._owner()
        acquire = functools.partial(
            self._session.acquire, name, on_lost=self._twin(on_lost), on_yield=self._twin(on_yield), **options
        )
        return self._held(acquire)

    def acquire_all(
        self,
        parts: Iterable[str | Part],
        *,
        on_lost: Callable[[Lock, LossReason], object] | None = None,
        on_yield: Callable[[Lock, float | None], object] | None = None,
        **options: Unpack[WaitOptions],
    ) -> Lock:
        """Acquire several locks at once and return them held, as one; see `lockstream.Session.acquire_all`."""
        if options.get("owner") is None:
            options["owner"] = self._owner()
        acquire = functools.partial(
            self._session.acquire_all, parts, on_lost=self._twin(on_lost), on_yield=self._twin(on_yield), **options
        )
        return self._held(acquire)

    def try_lock(self, name: str, *, shared: bool = False) -> Lock | None:
        """Acquire a lock if it is free, or return None at once. ServerUnavailable when nobody can tell."""
        try:
            return self.acquire(name, shared=shared, wait=0)
        except WouldBlock:
            return None

    @contextmanager
    def lock(self, name: str, **options: Unpack[AcquireOptions]) -> Iterator[Lock]:
        """Hold a lock while the body runs. LockLost at its end when the lock was lost meanwhile."""
        with _during(self.acquire(name, **options)) as lock:
            yield lock

    @contextmanager
    def semaphore(
        self, name: str, limit: int, *, permits: int = 1, **options: Unpack[SemaphoreOptions]
    ) -> Iterator[Lock]:
        """Hold `permits` of the `limit` permits of a name while the body runs; else as `lock`."""
        with _during(self.acquire(name, limit=limit, permits=permits, **options)) as lock:
            yield lock

    @contextmanager
    def lock_all(self, parts: Iterable[str | Part], **options: Unpack[AcquireAllOptions]) -> Iterator[Lock]:
        """Hold several locks, acquired at once, while the body runs; else as `lock`."""
        with _during(self.acquire_all(parts, **options)) as lock:
            yield lock

    def locked(self, name: str, **options: Unpack[AcquireOptions]) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """A decorator: each call of the function holds the lock."""

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> T:
                with self.lock(name, **options):
                    return function(*args, **kwargs)

            return call

        return decorate

    def request_yield(self, name: str) -> None:
        """Ask those who hold what this session waits for to give it up; see `lockstream.Session.request_yield`."""
        self._portal.call(lambda: self._session.request_yield(name))

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
        with self._portal.unless_closed():
            self._portal.call(lambda: self._session.__aexit__(None, None, None))

    def __repr__(self) -> str:
        return repr(self._session)

    def _held(self, acquire: Callable[[], Coroutine[object, object, _lock.Lock]]) -> Lock:
        return Lock(self._portal, self._portal.call(acquire, undo=lambda lock: lock.release()))

    def _owner(self) -> str:
        return self._owners.name(threading.current_thread())

    def _twin(self, callback: Callable[[Lock, T], object] | None) -> Callable[[_lock.Lock, T], object] | None:
        """The callback as the asynchronous session calls it."""
        if callback is None:
            return None
        return lambda lock, news: callback(Lock(self._portal, lock), news)


@contextmanager
def _during(lock: Lock) -> Iterator[Lock]:
    """Release after the body.

    LockLost when the lock was lost while the body ran, unless the body raised something of its own: that tells more
    than a failure to release would, too.
    """
    try:
        yield lock
    except BaseException:
        lock.release_after_failure()
        raise
    lost = lock.lost.error
    if lost is not None:
        raise lost
    lock.release()
