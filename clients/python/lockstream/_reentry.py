"""Locks which their owners may acquire again while they hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockstream._lock import Lock
    from lockstream._reasons import LossReason


class Reentries:
    """The reentrant locks of one session that are held now, by name and owner."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], Lock] = {}

    def enter(self, name: str, owner: str) -> Lock | None:
        """The lock, entered once more, if this owner holds it exclusively. Raises as `Lock.check`."""
        lock = self._locks.get((name, owner))
        if lock is None or lock.shared:
            return None
        lock.enter()
        return lock

    def admit(self, lock: Lock) -> None:
        """Let its owner enter this lock again, for as long as it is held."""
        key = (lock.name, lock.owner)
        self._locks[key] = lock

        def over(_reason: LossReason | None) -> None:
            if self._locks.get(key) is lock:
                del self._locks[key]

        lock.listen(over)
