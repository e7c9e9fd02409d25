"""The lock table as it was: at an earlier revision, and from there on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from lockstream_server.core.changes import Snapshot
from lockstream_server.core.observing import RevisionChanges, Watched, changes
from lockstream_server.core.table import Table
from lockstream_server.store.port import Store

TABLES = 2
"""How many tables of earlier revisions are kept for those who page through them."""
KEPT_SECONDS = 60.0
"""How long a table of an earlier revision is kept."""
TURNS = 8
"""How many may keep such a table while their client reads of it; all others wait for their turn."""
TURN_SECONDS = 60.0
"""How long a turn lasts at the most: a client that reads more slowly than the locks change would never be done."""


class Past:
    """Reads earlier states from the store and folds them apart from the server's own table."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: dict[int, Table] = {}
        self._reading = asyncio.Lock()
        self.turns = asyncio.Semaphore(TURNS)
        """To be held by whoever keeps a table or a replay while something else is awaited."""

    def __repr__(self) -> str:
        return f"Past({list(self._tables)})"

    async def table(self, revision: int) -> Table:
        """The table as it was at a revision, which others read as well.

        Raises LockError (HISTORY_COMPACTED, STORE_UNAVAILABLE), FutureRevisionError.
        """
        async with self._reading:  # one at a time; whoever asks for the same gets it from the first
            table = self._tables.get(revision)
            if table is None:
                table = await asyncio.to_thread(table_of, await self._store.read_state(revision))
                while len(self._tables) >= TABLES:
                    del self._tables[next(iter(self._tables))]
                self._tables[revision] = table
                asyncio.get_running_loop().call_later(KEPT_SECONDS, self._tables.pop, revision, None)
        return table

    async def replay(self, revision: int) -> "Replay":
        """Begin to tell again what happened after a revision. Raises as `table` does."""
        async with self._reading:
            snapshot = await self._store.read_state(revision)
        return Replay(self._store, await asyncio.to_thread(table_of, snapshot))


class Replay:
    """A table of its own that follows the history from an earlier revision on."""

    def __init__(self, store: Store, table: Table) -> None:
        self._store = store
        self._table = table

    async def until(self, revision: int, watched: Watched) -> AsyncGenerator[RevisionChanges, None]:
        """What was changed since the last time, up to a revision that the server has folded.

        Raises LockError (HISTORY_COMPACTED, STORE_UNAVAILABLE).
        """
        async with aclosing(self._store.read_history(self._table.revision, revision)) as history:
            async for each in history:
                found = changes(self._table, self._table.fold(each), watched)
                if found:
                    yield RevisionChanges(each.number, found)


def table_of(snapshot: Snapshot) -> Table:
    """The table that follows from a snapshot alone. Where the snapshot is large this takes long: use a thread."""
    table = Table()
    table.fold(table.difference(snapshot))
    return table
