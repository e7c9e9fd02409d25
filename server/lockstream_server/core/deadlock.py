"""Owners who wait for each other in a circle, found in the lock table alone.

An owner is something sequential within a session, such as a task: while one of its acquires waits it does nothing
else, releases included. The session as a whole, the empty owner, is not; it is taken to go on.

An acquire that waits goes on when enough of those before it have gone; with permits any of several may do. So that
nobody is called deadlocked who is not, the question is asked the other way round: who can still go on? Everybody who
waits for nothing; then everybody whose waits are granted once those have left; and so on. Whoever then remains waits
for ever. A cycle is looked for among these only, and only where somebody waits for himself over others.

New waits come at the end of a queue. A cycle is therefore closed by its youngest wait, and whoever looks on behalf of
a wait sees nothing younger. So each cycle has one victim, the same for every server, whatever was folded since.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from lockstream_server.core.model import Entry, Mode
from lockstream_server.core.queue import Queue
from lockstream_server.core.table import Table

Owner = tuple[int, str]
"""Session, 0 for a foreign entry, and owner."""


class Wait(NamedTuple):
    """One step of a cycle: the owner waits for the name, which the next one has or is before it for."""

    session: int
    owner: str
    name: str


def owner_of(entry: Entry) -> Owner:
    """Whose entry it is."""
    return entry.session or 0, entry.record.owner


def is_sequential(owner: Owner) -> bool:
    """Whether it does nothing else while it waits. Foreign entries and whole sessions may go on, for all one knows."""
    return all(owner)


def find(table: Table, waiter: Entry, leaving: Collection[Entry] = ()) -> list[Wait]:
    """The cycle that this waiting entry has closed, beginning with its owner's wait; empty if there is none.

    `leaving` are entries that are taken for gone: their deletion is under way, whatever their owners wait for.
    The time it takes is in proportion to the queues in which the owner waits, directly and over others.
    """
    owner = owner_of(waiter)
    search = _Search(table, waiter, leaving)
    if not is_sequential(owner) or not any(entry is not waiter for entry in search.entries_of(owner)):
        return []  # who has nothing else keeps nobody waiting
    reachable = search.reachable(owner)
    if owner not in reachable:
        return []
    stuck = search.stuck(reachable)
    return search.cycle(owner, stuck) if owner in stuck else []


def _age(entry: Entry) -> tuple[int, int, int]:
    """What tells the younger of two waits; the entries of one acquire are of one age."""
    return entry.token, entry.session or 0, entry.record.acquire


class _Search:
    """One look at a table that does not change meanwhile, on behalf of one wait."""

    def __init__(self, table: Table, waiter: Entry, leaving: Collection[Entry]) -> None:
        self._table = table
        self._leaving = leaving
        self._age = _age(waiter)
        self._owned: dict[int, dict[str, list[Entry]]] = {}
        self._places: dict[str, dict[Entry, int]] = {}

    def entries_of(self, owner: Owner) -> Sequence[Entry]:
        """Everything the owner holds and awaits."""
        session, name = owner
        if session not in self._owned:
            live = self._table.sessions.get(session)
            owned: dict[str, list[Entry]] = {}
            for entry in live.entries.values() if live is not None else ():
                if entry not in self._leaving:
                    owned.setdefault(entry.record.owner, []).append(entry)
            self._owned[session] = owned
        return self._owned[session].get(name, ())

    def reachable(self, start: Owner) -> dict[Owner, None]:
        """Every owner that somebody waits for, from this one on; the owner itself only if it comes round."""
        seen: dict[Owner, None] = {}
        looked: dict[str, int] = {}
        """How much of a queue was looked at: whoever stands there waits for nobody new."""
        open_ends = [start]
        while open_ends:
            for wait in self._waits_of(open_ends.pop()):
                known = looked.get(wait.name, 0)
                for entry in self._before(wait, known):
                    other = owner_of(entry)
                    if other not in seen and is_sequential(other) and not self._is_over(other):
                        seen[other] = None
                        open_ends.append(other)
                looked[wait.name] = max(self._place(wait), known)
        return seen

    def stuck(self, owners: dict[Owner, None]) -> set[Owner]:
        """Those of the owners who can never go on, whoever else goes.

        They are let go one after another in copies of the queues, in which nobody else stands.
        """
        queues = {wait.name: Queue() for owner in owners for wait in self._waits_of(owner)}
        standing: dict[Owner, list[Entry]] = {owner: [] for owner in owners}
        awaited = dict.fromkeys(owners, 0)
        """How many of its entries are not granted."""
        for name, queue in queues.items():
            for entry in self._table.locks[name].entries:
                owner = owner_of(entry)
                if owner in standing and _age(entry) <= self._age and entry not in self._leaving:
                    copy = Entry(name, entry.key, entry.session, entry.record, entry.token)
                    queue.insert(copy)
                    standing[owner].append(copy)
                    awaited[owner] += 1
        stuck = set(owners)
        free: deque[Owner] = deque()
        changed = [*queues.values()]
        while changed:
            for queue in changed:
                for granted in queue.advance():
                    owner = owner_of(granted)
                    awaited[owner] -= 1
                    if not awaited[owner]:
                        free.append(owner)
            changed = []
            if free:
                owner = free.popleft()
                stuck.remove(owner)
                for entry in standing[owner]:
                    queues[entry.name].remove(entry)
                    changed.append(queues[entry.name])
        return stuck

    def cycle(self, start: Owner, stuck: set[Owner]) -> list[Wait]:
        """The shortest way from the owner over others who are stuck back to itself; empty if there is none."""
        came: dict[Owner, Wait] = {}
        """The step that led to each."""
        looked: dict[tuple[str, bool], int] = {}
        """How much of a queue was looked at, and whether without its readers."""
        open_ends = deque([start])
        while open_ends:
            owner = open_ends.popleft()
            for wait in self._waits_of(owner):
                reads = wait.record.mode is Mode.SHARED
                known = max(looked.get((wait.name, False), 0), looked.get((wait.name, reads), 0))
                for entry in self._before(wait, known):
                    other = owner_of(entry)
                    if other == owner or other not in stuck or (reads and entry.record.mode is Mode.SHARED):
                        continue
                    if other not in came:
                        came[other] = Wait(*owner, wait.name)
                        open_ends.append(other)
                    if other == start:
                        return _way(start, came)
                if owner != start:  # he looks past his own entries, which are what others look for
                    looked[wait.name, reads] = max(self._place(wait), known)
        return []

    def _waits_of(self, owner: Owner) -> list[Entry]:
        """In an order that does not depend on what the table has folded since when."""
        waits = [entry for entry in self.entries_of(owner) if not entry.granted and _age(entry) <= self._age]
        return sorted(waits, key=lambda wait: (wait.token, wait.name, wait.key))

    def _is_over(self, owner: Owner) -> bool:
        """Whether its session has ended: what is left of it goes, whatever it waits for."""
        return self._table.sessions[owner[0]].record is None

    def _place(self, waiter: Entry) -> int:
        """How many stand before the waiter."""
        places = self._places.get(waiter.name)
        if places is None:
            entries = self._table.locks[waiter.name].entries
            places = self._places[waiter.name] = {entry: place for place, entry in enumerate(entries)}
        return places[waiter]

    def _before(self, waiter: Entry, start: int) -> Sequence[Entry]:
        """Those before the waiter, but for the first so many."""
        before = self._table.locks[waiter.name].entries[start : self._place(waiter)]
        return [entry for entry in before if entry not in self._leaving] if self._leaving else before


def _way(start: Owner, came: Mapping[Owner, Wait]) -> list[Wait]:
    """The steps of a cycle in their order, found from its end."""
    steps = [came[start]]
    while (at := (steps[-1].session, steps[-1].owner)) != start:
        steps.append(came[at])
    return steps[::-1]
