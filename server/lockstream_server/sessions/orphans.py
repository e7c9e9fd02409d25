"""Entries whose session is over.

A session's lease has only its record under it. What the session held and awaited is freed by the servers, once nobody
can believe in it any more: at once where one of them ended the session, and otherwise a TTL later. For etcd may end a
lease before its time, as a leader does that was frozen and, when it wakes up, has yet to hear of its successor. Then
the client has proof of what it holds for up to its TTL.

What was held with a lock delay when the session was lost is freed later by that delay.

Every server does so, since the one that had the session may be gone.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from lockstream_server.core.model import Entry
from lockstream_server.core.table import LiveSession, Table
from lockstream_server.sessions.outcomes import RETRY_SECONDS, outcome_of
from lockstream_server.store.port import DeleteSession, Evict, EvictSession, Store, Verdict


class _Ending(NamedTuple):
    """A session that is being ended here."""

    attached_at: int
    """The revision of the record that is to go."""
    evicts: bool
    """Whether that is somebody else's wish. It does not count when the session has ended by itself just before."""
    lost: bool
    freed: "asyncio.Future[None]"
    """Done when everything has gone that goes at once."""


class Orphans:
    """Frees what sessions leave behind."""

    def __init__(self, store: Store, table: Table) -> None:
        self._store = store
        self._table = table
        self._endings: dict[int, list[_Ending]] = {}
        self._timers: dict[Entry, asyncio.TimerHandle] = {}
        """When each entry that is not free at once is to be."""
        self._freeing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Orphans(ending={len(self._endings)}, waiting={len(self._timers)}, freeing={len(self._freeing)})"

    async def end(
        self, session: int, attached_at: int, deletion: DeleteSession | EvictSession, *, lost: bool
    ) -> Verdict:
        """End a session, if its record is still the one written at that revision, and all that it has with it.

        If it is `lost` to its client, lock delays begin. Returns the verdict on the deletion of the record once
        everything is gone that goes at once.
        """
        evicts = isinstance(deletion, EvictSession)
        ending = _Ending(attached_at, evicts, lost, asyncio.get_running_loop().create_future())
        self._endings.setdefault(session, []).append(ending)
        if self._is_over(session, attached_at):
            self.ended(session)
        verdict = (await outcome_of(self._store, deletion)).verdict
        # An earlier attempt may have done it: then the fold shows, if it has not yet, that a session of ours is over.
        if verdict is Verdict.DELETED or (verdict is Verdict.ABSENT and not evicts):
            await ending.freed
        elif ending in self._endings.get(session, ()):
            self._endings[session].remove(ending)
            if not self._endings[session]:
                del self._endings[session]
        return verdict

    def ended(self, session: int, proven: float | None = None, *, evicted: bool = False) -> None:
        """The fold shows that a session is over, and whether it was evicted.

        `proven` are the seconds for which its client may believe in what it has, if this server knows.
        """
        endings = self._endings.pop(session, [])
        live = self._table.sessions.get(session)
        if live is not None and any(
            ending.attached_at == live.attached_at and (evicted or not ending.evicts) for ending in endings
        ):
            self._free(live, endings)
            return
        for ending in endings:  # nothing is left, or it was attached elsewhere since
            ending.freed.set_result(None)
        if live is not None:
            self._free_later(live, proven)

    def look(self) -> None:
        """The table was read anew: it may show sessions that ended unseen."""
        for live in self._table.sessions.values():
            if live.record is None:
                self._free_later(live, None)

    async def close(self) -> None:
        """Leave the rest to other servers, or to the next start of this one."""
        for timer in self._timers.values():
            timer.cancel()
        tasks = [*self._freeing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_over(self, session: int, attached_at: int) -> bool:
        """Whether the table has shown the end of a session, if it has come to where it was attached."""
        return self._table.revision >= attached_at and not self._table.lives(session)

    def _free(self, live: LiveSession, endings: Sequence[_Ending]) -> None:
        """Free what a session had that was ended here: at once, but for the holds with a delay if it was lost."""
        now, at_once = asyncio.get_running_loop().time(), []
        for entry in live.entries.values():
            delay = _delay(entry) if all(ending.lost for ending in endings) else 0.0
            if delay:
                self._delete_at(now + delay, entry)
            else:
                at_once.append(entry)
        self._start(at_once, [ending.freed for ending in endings])

    def _free_later(self, live: LiveSession, proven: float | None) -> None:
        now = asyncio.get_running_loop().time()
        for entry in live.entries.values():
            if entry not in self._timers:
                self._delete_at(now + (entry.record.ttl if proven is None else proven) + _delay(entry), entry)

    def _delete_at(self, moment: float, entry: Entry) -> None:
        """Delete an entry then. Those of one moment go together, so that none is granted as another goes."""
        if entry in self._timers:
            self._timers[entry].cancel()
        self._timers[entry] = asyncio.get_running_loop().call_at(moment, self._delete_now, entry)

    def _delete_now(self, entry: Entry) -> None:
        del self._timers[entry]
        if self._table.entry(entry.name, entry.key) is entry:
            self._start([entry])

    def _start(self, entries: Sequence[Entry], waiting: Sequence["asyncio.Future[None]"] = ()) -> None:
        task = asyncio.get_running_loop().create_task(self._delete(entries, waiting))
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)

    async def _delete(self, entries: Sequence[Entry], waiting: Sequence["asyncio.Future[None]"]) -> None:
        while entries:
            deletions = [Evict(entry.name, entry.key, entry.token, None, 0) for entry in entries]
            outcomes = await asyncio.gather(*(outcome_of(self._store, deletion) for deletion in deletions))
            gone = (Verdict.DELETED, Verdict.ABSENT)
            entries = [entry for entry, outcome in zip(entries, outcomes, strict=True) if outcome.verdict not in gone]
            if entries:
                await asyncio.sleep(RETRY_SECONDS)
        for freed in waiting:
            if not freed.done():
                freed.set_result(None)


def _delay(entry: Entry) -> float:
    """Seconds for which an entry stays taken after the loss of its session.

    Only a hold has a delay: an entry that is granted later, though its session is over, was never told so.
    """
    return entry.record.terms.lock_delay if entry.granted else 0.0
