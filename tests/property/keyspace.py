"""All keys under the prefix, and everything that servers, leases and others do to them, one revision at a time."""

from collections.abc import Sequence

from hypothesis import strategies as st

from lockstream_server.core.changes import (
    Change,
    EntryDeleted,
    EntryPut,
    EvictionDeleted,
    EvictionPut,
    SessionDeleted,
    SessionPut,
    Snapshot,
)
from lockstream_server.core.model import FOREIGN, EntryRecord, EvictionRecord, Mode, Terms
from lockstream_server.store.keys import entry_id, eviction_id
from tests.property.naive import holds, in_order
from tests.support.history import RECORD, eviction, session_eviction

Key = tuple[str, str]
Step = tuple[object, ...]

NAMES = st.sampled_from(["a", "b"])
SESSIONS = st.integers(1, 4)
PICK = st.integers(0, 99)
ASKED = st.one_of(
    st.sampled_from([(Mode.EXCLUSIVE, Terms()), (Mode.SHARED, Terms())]),
    st.builds(
        lambda number, limit: (Mode.PERMITS, Terms(permits=number, limit=limit)), PICK, st.sampled_from([3, 3, 4])
    ),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), SESSIONS, st.integers(1, 2), st.dictionaries(NAMES, ASKED, min_size=1)),
        st.tuples(st.just("upgrade"), PICK),
        st.tuples(st.just("downgrade"), PICK),
        st.tuples(st.just("set value"), PICK, st.binary(max_size=1)),
        st.tuples(st.just("release"), PICK),
        st.tuples(st.just("delete"), PICK),
        st.tuples(st.just("evict"), PICK),
        st.tuples(st.just("evict session"), SESSIONS),
        st.tuples(st.just("forget eviction"), PICK),
        st.tuples(st.just("attach"), SESSIONS),
        st.tuples(st.just("close"), SESSIONS),
        st.tuples(st.just("end lease"), SESSIONS),
        st.tuples(st.just("foreign"), NAMES, st.sampled_from(["694d", "695e"])),
    ),
    min_size=1,
    max_size=5,
)


class Keyspace:
    """What etcd has. Steps that make no sense, or write a key twice in one revision, do nothing."""

    def __init__(self) -> None:
        self.revision = 0
        self.entries: dict[Key, EntryPut] = {}
        self.sessions: dict[int, SessionPut] = {}
        self.evictions: dict[str, EvictionRecord] = {}

    def snapshot(self) -> Snapshot:
        evictions = [EvictionPut(key, record) for key, record in self.evictions.items()]
        return Snapshot(self.revision, [*self.entries.values()], [*self.sessions.values()], evictions)

    def held(self) -> set[Key]:
        """The keys of all entries that hold."""
        return {
            (put.name, put.key)
            for queue in in_order(self.entries.values()).values()
            for put, held in zip(queue, holds(queue), strict=True)
            if held
        }

    def commit(self, steps: Sequence[Step]) -> list[Change]:
        """What these change together, if anything, as the next revision."""
        self._touched: set[object] = set()
        self._held = self.held()
        number = self.revision + 1
        others = [step for step in steps if step[0] == "foreign"]  # who write in transactions of their own
        changes = [change for step in others or steps for change in self._change(step, number)]
        if changes:
            self.revision = number
        return changes

    def _change(self, step: Step, number: int) -> list[Change]:
        return self._change_entry(step, number) or self._change_session(step, number)

    def _change_entry(self, step: Step, number: int) -> list[Change]:
        match step:
            case ("put", int(session), int(slot), dict(parts)):
                return self._put(number, session, slot, parts)
            case ("upgrade", int(pick)) if hold := self._pick(pick, Mode.SHARED):
                record = EntryRecord(number, Mode.UPGRADE, terms=Terms(upgrades=hold.token))
                return self._write([EntryPut(hold.name, entry_id(hold.session or 0, 3), hold.session, record, number)])
            case ("downgrade", int(pick)) if hold := self._pick(pick, Mode.EXCLUSIVE, Mode.UPGRADE):
                terms = hold.record.terms._replace(upgrades=0)
                return self._rewrite(hold, hold.record._replace(mode=Mode.SHARED, terms=terms))
            case ("set value", int(pick), bytes(value)) if hold := self._pick(pick, *Mode):
                return self._rewrite(hold, hold.record._replace(terms=hold.record.terms._replace(value=value)))
            case ("release", int(pick)) if hold := self._pick(pick, *Mode):
                return self._delete((hold.name, hold.key))
            case ("delete", int(pick)) if self.entries:
                return self._delete(sorted(self.entries)[pick % len(self.entries)])
            case ("evict", int(pick)) if self.entries:
                key = sorted(self.entries)[pick % len(self.entries)]
                put = self.entries[key]
                evicted = eviction(put.name, put.session or 0, put.token, acquire=put.record.acquire)
                if eviction_id(evicted) not in self._touched and (deleted := self._delete(key)):
                    return [*deleted, self._record(evicted)]
            case ("foreign", str(name), str(last)):
                known = self.entries.get((name, last))
                return self._write([EntryPut(name, last, None, FOREIGN, known.token if known is not None else number)])
            case _:
                pass
        return []

    def _change_session(self, step: Step, number: int) -> list[Change]:
        match step:
            case ("evict session", int(session)) if session in self.sessions and session not in self._touched:
                self._touched.add(session)
                del self.sessions[session]
                return [SessionDeleted(session), self._record(session_eviction(session))]
            case ("forget eviction", int(pick)) if self.evictions:
                old = sorted(self.evictions)[pick % len(self.evictions)]
                if old not in self._touched:
                    del self.evictions[old]
                    return [EvictionDeleted(old)]
            case ("attach", int(session)) if session in self.sessions or not self._entries_of(session):
                if session not in self._touched:
                    self._touched.add(session)
                    self.sessions[session] = SessionPut(session, RECORD, number)
                    return [self.sessions[session]]
            case ("close", int(session)) if session in self.sessions and session not in self._touched:
                self._touched.add(session)
                del self.sessions[session]
                return [SessionDeleted(session)]
            case ("end lease", int(session)) if session not in self._touched:
                keys = self._entries_of(session)
                if self._touched.isdisjoint(keys):
                    self._touched.add(session)
                    record_gone = [SessionDeleted(session)] if self.sessions.pop(session, None) is not None else []
                    return [*(change for key in keys for change in self._delete(key)), *record_gone]
            case _:
                pass
        return []

    def _put(self, number: int, session: int, slot: int, parts: dict[str, tuple[Mode, Terms]]) -> list[Change]:
        """One acquire, of one name or of several."""
        key = entry_id(session, slot)
        if session not in self.sessions or any((name, key) in self.entries for name in parts):
            return []
        records = {
            name: EntryRecord(number, mode, terms=self._in_bounds(terms)) for name, (mode, terms) in parts.items()
        }
        written = self._write([EntryPut(name, key, session, record, number) for name, record in records.items()])
        if written:
            self._touched.add(session)  # what is written under a lease goes with it, and so not in one revision
        return written

    @staticmethod
    def _in_bounds(terms: Terms) -> Terms:
        return terms._replace(permits=1 + terms.permits % terms.limit) if terms.limit else terms

    def _pick(self, pick: int, *modes: Mode) -> EntryPut | None:
        """One that holds, of a session that lives, in one of the modes."""
        holds = [self.entries[key] for key in sorted(self._held) if key in self.entries and key not in self._touched]
        mine = [put for put in holds if put.session in self.sessions and put.record.mode in modes]
        return mine[pick % len(mine)] if mine else None

    def _rewrite(self, put: EntryPut, record: EntryRecord) -> list[Change]:
        return self._write([put._replace(record=record)])

    def _write(self, puts: list[EntryPut]) -> list[Change]:
        keys = {(put.name, put.key): put for put in puts}
        # In one revision servers create one entry of a name: so the token of a shared hold is that of no other.
        created = {("created", name) for name, key in keys if (name, key) not in self.entries}
        touched = keys.keys() | (set() if puts[0].session is None else created)
        if not self._touched.isdisjoint(touched):
            return []
        self._touched |= touched
        self.entries |= keys
        return [*puts]

    def _delete(self, key: Key) -> list[Change]:
        if key in self._touched:
            return []
        self._touched.add(key)
        del self.entries[key]
        return [EntryDeleted(*key)]

    def _record(self, record: EvictionRecord) -> EvictionPut:
        put = EvictionPut(eviction_id(record), record)
        self._touched.add(put.key)
        self.evictions[put.key] = record
        return put

    def _entries_of(self, session: int) -> list[Key]:
        return [key for key, put in self.entries.items() if put.session == session]
