"""What it costs a server to look for a deadlock when an acquire comes to wait: on its table alone, in one process."""

import time
from collections.abc import Callable, Mapping

from lockstream_server.core import deadlock
from lockstream_server.core.changes import Revision
from lockstream_server.core.model import Entry, EntryRecord
from lockstream_server.core.table import Table
from tests.benchmarks.figures import MILLISECONDS, Figure, percentile
from tests.support.history import put

_SEARCHES = 20
LATECOMER = 1_000_000


class _Owners:
    """Owners of a session each, who ask for exclusive locks one after the other."""

    def __init__(self) -> None:
        self.table = Table()
        self._token = 0

    def ask(self, owner: int, name: str) -> Entry:
        """The entry, as it holds or waits."""
        self._token += 1
        record = EntryRecord(self._token, owner=f"task {owner}")
        written = put(name, owner, self._token, record, slot=self._token)
        self.table.fold(Revision(self._token, [written]))
        entry = self.table.entry(name, written.key)
        if entry is None:
            raise AssertionError(f"{written} is not in the table")
        return entry


def _queue(owners: _Owners, waiters: int) -> Entry:
    """Somebody who holds another lock comes to wait behind all of them; there is no deadlock."""
    for owner in range(1, waiters + 2):
        owners.ask(owner, "busy")
    owners.ask(LATECOMER, "another")
    return owners.ask(LATECOMER, "busy")


def _chain(owners: _Owners, waiters: int) -> Entry:
    """Each waits for the lock that the one before it holds, until the first comes to wait for the last one's."""
    for owner in range(1, waiters + 1):
        owners.ask(owner, f"lock {owner}")
    for owner in range(2, waiters + 1):
        owners.ask(owner, f"lock {owner - 1}")
    return owners.ask(1, f"lock {waiters}")


_CASES: Mapping[str, tuple[Callable[[_Owners, int], Entry], Callable[[int], int]]] = {
    "deadlock_none": (_queue, lambda _: 0),
    "deadlock_chain": (_chain, lambda waiters: waiters),
}
"""How each case comes about, and how long a cycle is to be found in it."""


def search(bench: str, waiters: int) -> Figure:
    """Milliseconds of one search.

    Raises:
        RuntimeError: it found something else than what is there.
    """
    build, length = _CASES[bench]
    owners = _Owners()
    entry = build(owners, waiters)
    durations = []
    for _ in range(_SEARCHES):
        began = time.perf_counter()
        cycle = deadlock.find(owners.table, entry)
        durations.append((time.perf_counter() - began) * MILLISECONDS)
        if len(cycle) != length(waiters):
            raise RuntimeError(f"{bench}: a cycle of {len(cycle)} owners among {waiters} waiters")
    p50, p99 = percentile(durations, 50), percentile(durations, 99)
    return Figure(p50, "ms", p50, p99)
