"""Names for who asks within a session: a task, or a thread."""

from __future__ import annotations

import itertools
from weakref import WeakKeyDictionary


class Owners:
    """Gives each task or thread a name of its own, for as long as it lives; no name is given twice.

    An object's `id` would not do: it is used again once the object is gone, while its lock may
    still be held.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self._serial = itertools.count(1)

    def name(self, owner: object) -> str:
        """The owner's name, such as `task-3`."""
        name = self._names.get(owner)
        if name is None:
            name = self._names[owner] = f"{self._prefix}-{next(self._serial)}"
        return name
