"""The lock table: etcd's history folded into who holds and who waits.

The unit of folding is a whole revision, because the cause of a loss is read from all of it: who evicts an entry or a
session deletes it and records why in one revision. Folding a revision changes the table and returns the effects, in
order; nothing else changes the table. Two tables that folded the same revisions are equal.
"""

from collections.abc import Iterable, Iterator, Mapping

from lockstream_server.core.changes import (
    Change,
    EntryDeleted,
    EntryPut,
    EvictionDeleted,
    EvictionPut,
    Revision,
    SessionDeleted,
    SessionPut,
    Snapshot,
)
from lockstream_server.core.effects import Attached, Cause, Effect, Ended, Granted, Queued, Removed, Rewritten
from lockstream_server.core.eviction_records import EvictionRecords
from lockstream_server.core.model import Entry, EvictionRecord, SessionRecord, session_text
from lockstream_server.core.queue import Queue


class LiveSession:
    """A session with its entries. It has no record while only entries are left of it."""

    __slots__ = ("attached_at", "entries", "record")

    def __init__(self) -> None:
        self.record: SessionRecord | None = None
        self.attached_at = 0
        self.entries: dict[tuple[str, str], Entry] = {}
        """By name and key."""


class Table:
    """All locks and sessions at one revision."""

    def __init__(self) -> None:
        self.revision = 0
        """The newest revision folded."""
        self.locks: dict[str, Queue] = {}
        """Every lock that is held or awaited, by name."""
        self.sessions: dict[int, LiveSession] = {}
        """Every session with a record or an entry, by lease."""
        self.evictions = EvictionRecords()
        """The records of evictions that etcd keeps."""

    def __repr__(self) -> str:
        return f"Table(revision={self.revision}, locks={self.locks!r}, sessions={len(self.sessions)})"

    def entry(self, name: str, key: str) -> Entry | None:
        """The entry at a key, if it is there."""
        queue = self.locks.get(name)
        return queue.by_key.get(key) if queue is not None else None

    def position(self, entry: Entry) -> int:
        """The entry's place among the waiters of its lock, from 1; 0 if it holds."""
        return self.locks[entry.name].position(entry)

    def lives(self, session: int) -> bool:
        """Whether a session has a record."""
        live = self.sessions.get(session)
        return live is not None and live.record is not None

    def is_over(self, session: int | None) -> bool:
        """Whether only entries are left of a session; not so of one unknown here, nor of None, which is nobody's."""
        return session in self.sessions and self.sessions[session].record is None

    def fold(self, revision: Revision, at: float | None = None) -> list[Effect]:
        """Apply one revision and return what follows from it.

        `at` is the moment, in seconds since the epoch, noted as the time of the grants. A revision that was folded
        before is ignored, so a watch may safely begin too early.
        """
        if revision.number <= self.revision:
            return []
        self.revision = revision.number
        effects: list[Effect] = []
        removed: list[Entry] = []
        fresh: dict[str, list[Entry]] = {}
        evicted: dict[tuple[str, int], EvictionRecord] = {}
        for change in revision.changes:
            match change:
                case EntryPut():
                    entry = self._put(change, removed, effects)
                    fresh.setdefault(change.name, [])
                    if entry is not None:
                        fresh[change.name].append(entry)
                case EntryDeleted():
                    gone = self.entry(change.name, change.key)
                    if gone is not None:
                        self._take_out(gone)
                        removed.append(gone)
                        new = fresh.setdefault(change.name, [])
                        if gone in new:
                            new.remove(gone)
                case SessionPut():
                    live = self.sessions.setdefault(change.session, LiveSession())
                    live.record, live.attached_at = change.record, change.attached_at
                    effects.append(Attached(change.session, change.attached_at))
                case SessionDeleted():
                    ended = self.sessions.get(change.session)
                    if ended is not None and ended.record is not None:
                        ended.record = None
                        effects.append(Ended(change.session, None))
                        if not ended.entries:
                            del self.sessions[change.session]
                case EvictionPut():
                    self.evictions.put(change.key, change.record)
                    evicted[change.record.name, change.record.token] = change.record
                case EvictionDeleted():
                    self.evictions.forget(change.key)
        # Only now, when the whole revision is in, is it known which entries went because their session did, and which
        # because of an eviction.
        if evicted:
            effects = [self._with_eviction(effect) for effect in effects]
        effects += [self._removal(entry, evicted) for entry in removed]
        for name, entries in fresh.items():
            effects.extend(self._settle(name, entries, at))
        return effects

    def difference(self, snapshot: Snapshot) -> Revision:
        """What lies between this table and a later snapshot, as one revision to fold.

        It loses what began and ended in between, and so may only be used where the history itself is gone.
        """
        changes: list[Change] = []
        sessions = {put.session: put for put in snapshot.sessions}
        entries = {(put.name, put.key): put for put in snapshot.entries}
        for session, live in self.sessions.items():
            if live.record is not None and session not in sessions:
                changes.append(SessionDeleted(session))
        for name, queue in self.locks.items():
            for entry in queue.entries:
                put = entries.get((name, entry.key))
                if put is None or put.token != entry.token:
                    changes.append(EntryDeleted(name, entry.key))
        for session, session_put in sessions.items():
            known = self.sessions.get(session)
            if known is None or known.attached_at != session_put.attached_at:
                changes.append(session_put)
        entry_puts = sorted(snapshot.entries, key=lambda put: (put.token, put.key))
        changes.extend(entry_puts)
        evictions = {put.key: put for put in snapshot.evictions}
        changes.extend(put for put in snapshot.evictions if self.evictions.get(put.key) != put.record)
        changes.extend(EvictionDeleted(key) for key in self.evictions if key not in evictions)
        return Revision(snapshot.revision, changes)

    def _put(self, put: EntryPut, removed: list[Entry], effects: list[Effect]) -> Entry | None:
        """Take an entry in. Returns it if it is new, None if a known one was rewritten."""
        known = self.entry(put.name, put.key)
        if known is not None:
            if known.token == put.token:
                if known.record != put.record:
                    effects.append(Rewritten(known, known.record))
                    self.locks[put.name].rewrite(known, put.record)
                return None
            self._take_out(known)
            removed.append(known)
        entry = Entry(*put)
        queue = self.locks.get(put.name)
        if queue is None:
            queue = self.locks[put.name] = Queue()
        queue.insert(entry)
        if put.session is not None:
            live = self.sessions.get(put.session)
            if live is None:
                live = self.sessions[put.session] = LiveSession()
            live.entries[put.name, put.key] = entry
        return entry

    def _take_out(self, entry: Entry) -> None:
        self.locks[entry.name].remove(entry)
        if entry.session is None:
            return
        live = self.sessions[entry.session]
        del live.entries[entry.name, entry.key]
        if not live.entries and live.record is None:
            del self.sessions[entry.session]

    def _removal(self, entry: Entry, evicted: Mapping[tuple[str, int], EvictionRecord]) -> Removed:
        eviction = evicted.get((entry.name, entry.token)) if evicted else None
        if eviction is not None:
            return Removed(entry, Cause.EVICTED, eviction)
        if entry.session is None or self.lives(entry.session):
            return Removed(entry, Cause.DELETED, None)
        ended_by = self.evictions.get(session_text(entry.session)) if self.evictions else None
        return Removed(entry, Cause.SESSION_ENDED if ended_by is None else Cause.EVICTED, ended_by)

    def _with_eviction(self, effect: Effect) -> Effect:
        """Name who ended a session, if somebody did."""
        if isinstance(effect, Ended):
            return effect._replace(eviction=self.evictions.get(session_text(effect.session)))
        return effect

    def _settle(self, name: str, fresh: Iterable[Entry], at: float | None) -> Iterator[Effect]:
        """Grant what can be granted of a lock that changed, and name the new entries that have to wait."""
        queue = self.locks[name]
        if not queue.entries:
            del self.locks[name]
            return
        for entry in queue.advance():
            entry.granted_at = at
            yield Granted(entry)
        for entry in fresh:
            if not entry.granted:
                yield Queued(entry)
