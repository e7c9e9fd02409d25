"""Which slots a session uses on each name. The smallest free one is used first, so that keys are used again."""

import heapq


class Slots:
    """Slots that are taken, by lock name."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, tuple[list[int], int]] = {}
        """By name: a heap of the free slots below the second number, from which on all are free."""

    def __repr__(self) -> str:
        return f"Slots({ {name: end - len(free) for name, (free, end) in self._names.items()} })"

    def take(self, name: str) -> int:
        """The smallest free slot of the name, taken from now on."""
        free, end = self._names.get(name, ([], 0))
        if free:
            return heapq.heappop(free)
        self._names[name] = (free, end + 1)
        return end

    def claim(self, name: str, slot: int) -> None:
        """Take one slot that is known to be in use."""
        free, end = self._names.get(name, ([], 0))
        if slot < end:
            free.remove(slot)
            heapq.heapify(free)
            return
        for between in range(end, slot):
            heapq.heappush(free, between)
        self._names[name] = (free, slot + 1)

    def give_back(self, name: str, slot: int) -> None:
        """The slot is free again."""
        free, end = self._names[name]
        heapq.heappush(free, slot)
        if len(free) == end:
            del self._names[name]
