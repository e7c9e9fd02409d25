"""A dictionary with a bound, which forgets what was written longest ago."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What was last noted of each of so many names."""

    __slots__ = ("_limit", "_noted")

    def __init__(self, limit: int) -> None:
        """`limit` is in names."""
        self._limit = limit
        self._noted: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._noted)

    def __repr__(self) -> str:
        return f"Recent({len(self._noted)} of {self._limit})"

    def get(self, name: str) -> T | None:
        """What was noted of the name, unless that is forgotten."""
        return self._noted.get(name)

    def note(self, name: str, noted: T) -> None:
        """Keep this in place of what was noted before, and longer than all others."""
        self._noted[name] = noted
        self._noted.move_to_end(name)
        if len(self._noted) > self._limit:
            self._noted.popitem(last=False)
