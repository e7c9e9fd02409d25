"""How long waiters may still have to wait, guessed from how long a name was held recently.

The mean of the hold times of a name is weighted exponentially (`WEIGHT` for the newest), which needs one number per
name and follows a change of habits within a few holds. A waiter waits for as many holds as have to end before it:

* exclusive, and upgrade: each hold before it is a turn of its own, the present one included. So the one at place p
  among exclusive waiters waits p means.
* shared: neighbours in the queue hold together, and so are one turn, like those who share the lock now. That the last
  of many to let go holds for longer than the mean is left out.
* permits: of a limit L one permit comes free every mean/L. A waiter needs as many of them as those before it and itself
  take beyond L. Permits in a row overlap in this way; what comes after them waits until all of them are through.

How long the present hold has lasted already is left out too: for holds without a typical length it says nothing.
"""

from collections.abc import Iterator, Sequence

from lockstream_server.core.model import Entry, Mode
from lockstream_server.core.recent import Recent

WEIGHT = 0.25
"""Of the newest hold in the mean."""
NAMES = 10_000
"""Names whose hold times are kept; beyond, those not held for longest are forgotten."""


class HoldTimes:
    """The mean time for which each name was held recently, in seconds."""

    def __init__(self, names: int = NAMES) -> None:
        self._means: Recent[float] = Recent(names)

    def __repr__(self) -> str:
        return f"HoldTimes({self._means!r})"

    def mean(self, name: str) -> float | None:
        """Seconds; None when no hold of the name was seen to end."""
        return self._means.get(name)

    def removed(self, entry: Entry, at: float) -> None:
        """An entry is gone since `at`, in seconds since the epoch. Counts if it held and its grant was seen."""
        if entry.granted_at is None:
            return
        seconds = max(0.0, at - entry.granted_at)  # a wall clock may be set back
        mean = self._means.get(entry.name)
        self._means.note(entry.name, seconds if mean is None else mean + WEIGHT * (seconds - mean))


def turns(entries: Sequence[Entry]) -> Iterator[float]:
    """For each waiter of a queue, in order: how many mean hold times it waits."""
    before = 0.0
    """Turns until everything before the present row of neighbours is through."""
    row = _Row()
    for entry in entries:
        if not row.takes(entry):
            before += row.turns
            row = _Row()
        row.add(entry)
        if not entry.granted:
            yield before + row.wait


class _Row:
    """Neighbours in a queue that hold together, as far as there is room."""

    __slots__ = ("last", "permits")

    def __init__(self) -> None:
        self.last: Entry | None = None
        self.permits = 0

    def takes(self, entry: Entry) -> bool:
        """Whether the entry may hold together with those of the row."""
        if self.last is None:
            return True
        mode = self.last.record.mode
        return mode is entry.record.mode and mode in (Mode.SHARED, Mode.PERMITS)

    def add(self, entry: Entry) -> None:
        """Put the entry at the end."""
        self.last = entry
        self.permits += entry.record.terms.permits

    @property
    def wait(self) -> float:
        """Turns within the row until its last entry is granted."""
        return max(0.0, self.permits / self._limit - 1)

    @property
    def turns(self) -> float:
        """Turns until the whole row is through."""
        return max(1.0, self.permits / self._limit)

    @property
    def _limit(self) -> int:
        return max(1, self.last.record.terms.limit) if self.last is not None else 1
