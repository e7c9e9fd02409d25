"""Entries whose session is over.

A session's lease has only its record under it. What the session held and awaited is freed by the servers, once nobody
can believe in it any more: at once where one of them ended the session, and otherwise a TTL later. For etcd may end a
lease before its time, as a leader does that was frozen and, when it wakes up, has yet to hear of its successor. Then
the client has proof of what it holds for up to its TTL.

Every server does so, since the one that had the session may be gone.
"""

import asyncio
from collections.abc import Sequence

from lockstream_server.core.model import Entry
from lockstream_server.core.table import Table
from lockstream_server.sessions.outcomes import outcome_of
from lockstream_server.store.port import DeleteSession, Evict, EvictSession, Store, Verdict

RETRY_SECONDS = 1.0
"""Until a deletion that etcd did not take is tried again."""


class Orphans:
    """Frees what sessions leave behind."""

    def __init__(self, store: Store, table: Table) -> None:
        self._store = store
        self._table = table
        self._ending: dict[int, list[tuple[int, asyncio.Future[None]]]] = {}
        """Sessions that are being ended here: the revision of the record that is to go, and who waits for all to go."""
        self._timers: dict[int, asyncio.TimerHandle] = {}
        """When each session that ended by itself is to be freed."""
        self._freeing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Orphans(ending={len(self._ending)}, waiting={len(self._timers)}, freeing={len(self._freeing)})"

    async def end(self, session: int, attached_at: int, deletion: DeleteSession | EvictSession) -> Verdict:
        """End a session, if its record is still the one written at that revision, and all that it has with it.

        Returns the verdict on the deletion of the record once everything is gone.
        """
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (attached_at, freed)
        self._ending.setdefault(session, []).append(waiting)
        if self._is_over(session, attached_at):
            self.ended(session)
        verdict = (await outcome_of(self._store, deletion)).verdict
        # An earlier attempt may have done it: then the fold shows, if it has not yet, that a session of ours is over.
        if verdict is Verdict.DELETED or (verdict is Verdict.ABSENT and isinstance(deletion, DeleteSession)):
            await freed
        elif waiting in self._ending.get(session, ()):
            self._ending[session].remove(waiting)
            if not self._ending[session]:
                del self._ending[session]
        return verdict

    def ended(self, session: int, proven: float | None = None) -> None:
        """The fold shows that a session is over.

        `proven` are the seconds for which its client may believe in what it has, if this server knows.
        """
        ending = self._ending.pop(session, [])
        live = self._table.sessions.get(session)
        if live is not None and live.attached_at in [attached_at for attached_at, _ in ending]:
            self._free([*live.entries.values()], [freed for _, freed in ending])
            return
        for _, freed in ending:  # nothing is left, or it was attached elsewhere since
            freed.set_result(None)
        if live is not None and session not in self._timers:
            self._free_later(session, proven)

    def look(self) -> None:
        """The table was read anew: it may show sessions that ended unseen."""
        for session, live in self._table.sessions.items():
            if live.record is None and session not in self._timers:
                self._free_later(session, None)

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
        live = self._table.sessions.get(session)
        return self._table.revision >= attached_at and (live is None or live.record is None)

    def _free_later(self, session: int, proven: float | None) -> None:
        live = self._table.sessions[session]
        seconds = max(entry.record.ttl for entry in live.entries.values()) if proven is None else proven
        self._timers[session] = asyncio.get_running_loop().call_later(seconds, self._free_now, session)

    def _free_now(self, session: int) -> None:
        del self._timers[session]
        live = self._table.sessions.get(session)
        if live is not None:
            self._free([*live.entries.values()])

    def _free(self, entries: Sequence[Entry], waiting: Sequence["asyncio.Future[None]"] = ()) -> None:
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
