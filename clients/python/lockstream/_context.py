"""`async with session.lock(...)`: acquire, run the body, release."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypedDict, TypeVar

from lockstream._asks import as_parts
from lockstream._body import Body
from lockstream._errors import WrongState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from types import TracebackType

    from lockstream._asks import Part
    from lockstream._lock import Lock
    from lockstream._reasons import LossReason
    from lockstream._session import Session

P = ParamSpec("P")
T = TypeVar("T")


class WaitOptions(TypedDict, total=False):
    """Who asks, and how long it waits; see `Session.acquire`."""

    wait: float | None
    owner: str | None
    on_wait: Callable[[int], object] | None


class HoldOptions(WaitOptions, total=False):
    """What is said of the hold; see `Session.acquire`."""

    value: bytes
    metadata: Mapping[str, str] | None
    max_hold: float | None
    yield_notice: float | None
    request_yield: bool


class TermOptions(HoldOptions, total=False):
    """What is asked for, but for the callbacks that are given the lock; see `Session.acquire`."""

    shared: bool
    permits: int | None
    limit: int | None
    lock_delay: float | None
    reentrant: bool


class Callbacks(TypedDict, total=False):
    """What is called with the lock; see `Session.acquire`."""

    on_lost: Callable[[Lock, LossReason], object] | None
    on_yield: Callable[[Lock, float | None], object] | None


class AcquireOptions(TermOptions, Callbacks, total=False):
    """How a lock is asked for; see `Session.acquire`."""


class SemaphoreOptions(HoldOptions, Callbacks, total=False):
    """How permits are asked for; see `Session.semaphore`."""


class AcquireAllOptions(WaitOptions, Callbacks, total=False):
    """How several locks are asked for at once; see `Session.acquire_all`."""


class LockContext:
    """Holds a lock while the body of an `async with` runs.

    May be used again, but not while it is in use.
    """

    __slots__ = ("_body", "_cancel_on_loss", "_in_use", "_lock", "_name", "_options", "_session")

    def __init__(
        self,
        session: Callable[[], Awaitable[Session]],
        name: str,
        options: AcquireOptions,
        *,
        cancel_on_loss: bool,
    ) -> None:
        self._session = session
        self._name = name
        self._options = options
        self._cancel_on_loss = cancel_on_loss
        self._in_use = False
        """From the beginning of the wait on."""
        self._lock: Lock | None = None
        self._body: Body | None = None

    async def __aenter__(self) -> Lock:
        """Acquire; raises as `Session.acquire`."""
        if self._in_use:
            raise WrongState(f"this context of lock {self._name!r} is in use; make another")
        self._in_use = True
        try:
            lock = self._lock = await self._acquire(await self._session())
        except BaseException:
            self._in_use = False
            raise
        if self._cancel_on_loss:
            self._body = Body(lock)
        return lock

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release.

        LockLost when the lock was lost while the body ran, unless the body raised something of its
        own.
        """
        lock, body = self._lock, self._body
        self._lock = self._body = None
        self._in_use = False
        assert lock is not None  # noqa: S101 - Python leaves only what it entered
        cancelled_by_loss = body is not None and body.leave(exc_type)
        lost = lock.lost.error
        if lost is not None:
            if exc is None or cancelled_by_loss:
                raise lost from exc
        elif exc is None:
            await lock.release()
        else:
            await lock.release_after_failure()

    async def _acquire(self, session: Session) -> Lock:
        return await session.acquire(self._name, **self._options)


class LockAllContext(LockContext):
    """Holds several locks, acquired at once, while the body of an `async with` runs."""

    __slots__ = ("_all_options", "_parts")

    def __init__(
        self,
        session: Callable[[], Awaitable[Session]],
        parts: Iterable[str | Part],
        options: AcquireAllOptions,
        *,
        cancel_on_loss: bool,
    ) -> None:
        self._parts = as_parts(parts)
        self._all_options = options
        names = ", ".join(part.name for part in self._parts)
        super().__init__(session, names, {}, cancel_on_loss=cancel_on_loss)

    async def _acquire(self, session: Session) -> Lock:
        return await session.acquire_all(self._parts, **self._all_options)


def locked(
    context: Callable[[], LockContext],
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """A decorator that holds a lock, made anew by `context`, during each call of a coroutine."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            async with context():
                return await function(*args, **kwargs)

        return call

    return decorate
