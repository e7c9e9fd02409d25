"""A granted lock, for programs without asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lockstream import _lock
    from lockstream._errors import LockLost
    from lockstream._portal import Portal
    from lockstream._reasons import LossReason


class Loss:
    """Whether and why a lock was lost."""

    def __init__(self, portal: Portal, loss: _lock.Loss) -> None:
        self._portal = portal
        self._loss = loss

    @property
    def reason(self) -> LossReason | None:
        """Why, or None."""
        return self._loss.reason

    @property
    def detail(self) -> str:
        """For FORCE_RELEASED the reason which the operator stated, for MAX_HOLD_EXCEEDED the server's; else empty."""
        return self._loss.detail

    @property
    def actor(self) -> str:
        """For FORCE_RELEASED who the operator said to be, for MAX_HOLD_EXCEEDED the server; else empty."""
        return self._loss.actor

    @property
    def error(self) -> LockLost | None:
        """The exception that tells of the loss, or None."""
        return self._loss.error

    def is_set(self) -> bool:
        """Whether the lock was lost."""
        return self._loss.is_set()

    def wait(self) -> LossReason | None:
        """Block until the lock is lost, and tell why; or until it is released, which is None."""
        return self._portal.call(self._loss.wait)

    def __repr__(self) -> str:
        return repr(self._loss)


class Lock:
    """A granted lock, or several that were acquired at once."""

    def __init__(self, portal: Portal, lock: _lock.Lock) -> None:
        self._portal = portal
        self._lock = lock
        self.lost = Loss(portal, lock.lost)

    @property
    def name(self) -> str:
        """The name of the lock; of several the first."""
        return self._lock.name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all locks that were acquired at once; else the one name."""
        return self._lock.names

    @property
    def token(self) -> int:
        """The fencing token. What the lock protects is to refuse anything older. An upgrade brings another."""
        return self._lock.token

    @property
    def shared(self) -> bool:
        """Whether other shared holders may hold it too. Of several locks: all of them."""
        return self._lock.shared

    @property
    def permits(self) -> int:
        """How many permits of a semaphore it takes; 0 when it is none, or one of several locks."""
        return self._lock.permits

    @property
    def owner(self) -> str:
        """Who within the session holds it."""
        return self._lock.owner

    @property
    def held(self) -> bool:
        """Whether the lock is held at this moment, by the local clock."""
        return self._lock.held

    @property
    def yield_requested(self) -> bool:
        """Whether it was asked to be given up; see `lockstream.Lock`."""
        return self._lock.yield_requested

    def check(self) -> None:
        """Raise LockLost when the lock was lost, NotHeld when it was released."""
        self._lock.check()

    def upgrade(self, *, wait: float | None = None) -> None:
        """Make a shared lock exclusive; as the asynchronous `Lock.upgrade`."""
        self._portal.call(lambda: self._lock.upgrade(wait=wait))

    def downgrade(self) -> None:
        """Make an exclusive lock shared; as the asynchronous `Lock.downgrade`."""
        self._portal.call(self._lock.downgrade)

    def set_value(self, value: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Change what the lock shows to whoever reads or watches it; as the asynchronous `Lock.set_value`."""
        self._portal.call(lambda: self._lock.set_value(value, metadata))

    def release(self) -> None:
        """Give the lock up; raises as the asynchronous `Lock.release`."""
        self._portal.call(self._lock.release)

    def release_after_failure(self) -> None:
        """Give the lock up on the way out of a body that failed; as that of the asynchronous `Lock`."""
        with self._portal.unless_closed():
            self._portal.call(self._lock.release_after_failure)

    def __repr__(self) -> str:
        return repr(self._lock)
