"""The body of an `async with lock`, which is cancelled when the lock is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockstream._lock import Lock
    from lockstream._reasons import LossReason


class Body:
    """Cancels the task that runs the body, once, and tells that cancellation from anybody else's.

    The bookkeeping is that of `asyncio.timeout`: the task counts its cancellations, and ours is
    taken back on leaving. So an outer cancellation stays one, and of two nested locks that are lost
    together the outer reports the loss.
    """

    def __init__(self, lock: Lock) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a lock's body runs in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._inside = True
        self._cancelled = False
        self._lock = lock
        lock.listen(self._over)

    def leave(self, exc_type: type[BaseException] | None) -> bool:
        """The body ended. True when it was our cancellation, and nobody else's, that ended it."""
        self._inside = False
        self._lock.ignore(self._over)
        if not self._cancelled:
            return False
        ours_alone = self._task.uncancel() <= self._cancelling
        return ours_alone and exc_type is asyncio.CancelledError

    def _over(self, reason: LossReason | None) -> None:
        if reason is None:
            return  # the body released it itself
        if asyncio.current_task() is self._task:
            # The task found out by itself, in the middle of a call: it hears of it at its next
            # await, if still inside.
            self._task.get_loop().call_soon(self._cancel)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self._inside and not self._cancelled:
            self._cancelled = True
            self._task.cancel()
