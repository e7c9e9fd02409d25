"""The queue of one lock: its entries in etcd's order, granted from the head."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import attrgetter

from lockstream_server.core.model import Entry, EntryRecord
from lockstream_server.core.rules import RULES, Holders


class Queue:
    """The entries of one lock in etcd's order; the first `holding` of them are granted."""

    __slots__ = ("by_key", "entries", "holding", "permits")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.by_key: dict[str, Entry] = {}
        self.holding = 0
        self.permits = 0
        """The permits which those take that hold."""

    def insert(self, entry: Entry) -> None:
        """Put the entry where etcd's order has it: at the end but for entries of one transaction."""
        index = len(self.entries)
        while index > self.holding and self.entries[index - 1].order > entry.order:
            index -= 1
        self.entries.insert(index, entry)
        self.by_key[entry.key] = entry

    def remove(self, entry: Entry) -> None:
        """Take the entry out; it must be in."""
        self.entries.remove(entry)
        del self.by_key[entry.key]
        if entry.granted:
            self.holding -= 1
            self.permits -= entry.record.terms.permits

    def rewrite(self, entry: Entry, record: EntryRecord) -> None:
        """Let the entry say something else; it must be in."""
        if entry.granted:
            self.permits += record.terms.permits - entry.record.terms.permits
        entry.record = record

    def advance(self) -> Iterator[Entry]:
        """Grant from the head for as long as the rules admit, yielding each entry granted."""
        entries = self.entries
        while (holding := self.holding) < len(entries):
            candidate = entries[holding]
            if holding:
                holders = Holders(holding, entries[0], entries[holding - 1], self.permits)
                if not RULES[candidate.record.mode](holders, candidate):
                    return
            candidate.granted = True
            self.holding += 1
            self.permits += candidate.record.terms.permits
            yield candidate

    def before(self, entry: Entry) -> Sequence[Entry]:
        """The entries before this one."""
        return self.entries[: self.entries.index(entry)]

    def position(self, entry: Entry) -> int:
        """The entry's place among the waiters, from 1; 0 if it holds."""
        if entry.granted:
            return 0
        return bisect_left(self.entries, entry.order, key=attrgetter("order")) - self.holding + 1

    def waiting(self) -> Iterator[tuple[int, Entry]]:
        """Those who wait, in order, each with its place, from 1."""
        return enumerate(self.entries[self.holding :], 1)

    def __repr__(self) -> str:
        return f"Queue({self.entries!r})"
