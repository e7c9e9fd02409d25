"""The fold against a model that computes everything anew from all keys, whatever history etcd makes."""

from itertools import groupby
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lockstream_server.core.model import FOREIGN, EntryRecord, Mode
from lockstream_server.core.table import (
    Attached,
    Change,
    Effect,
    Ended,
    EntryDeleted,
    EntryPut,
    Granted,
    Queued,
    Removed,
    Revision,
    SessionDeleted,
    SessionPut,
    Snapshot,
    Table,
)
from lockstream_server.store.keys import entry_id
from tests.support.history import RECORD

Key = tuple[str, str]


class Line(NamedTuple):
    """One entry of a lock, as both sides are compared by it."""

    key: str
    session: int | None
    mode: Mode
    token: int
    held: bool


class Etcd:
    """All keys, and nothing else. Who holds is computed from scratch at every question."""

    def __init__(self) -> None:
        self.revision = 0
        self.entries: dict[Key, EntryPut] = {}
        self.sessions: dict[int, SessionPut] = {}

    def snapshot(self) -> Snapshot:
        return Snapshot(self.revision, [*self.entries.values()], [*self.sessions.values()])

    def queues(self) -> dict[str, list[Line]]:
        ordered = sorted(self.entries.values(), key=lambda put: (put.name, put.token, put.key))
        return {name: self._queue(list(puts)) for name, puts in groupby(ordered, key=lambda put: put.name)}

    @staticmethod
    def _queue(puts: list[EntryPut]) -> list[Line]:
        def held(index: int) -> bool:
            before = puts[: index + 1]
            return index == 0 or all(put.record.mode is Mode.SHARED for put in before)

        return [Line(put.key, put.session, put.record.mode, put.token, held(i)) for i, put in enumerate(puts)]


def lines(table: Table) -> dict[str, list[Line]]:
    return {
        name: [Line(each.key, each.session, each.record.mode, each.token, each.granted) for each in queue.entries]
        for name, queue in table.locks.items()
    }


class Listener:
    """Knows only effects, and objects to any that does not fit those before."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str, int], bool] = {}
        self.sessions: dict[int, int] = {}
        self.granted: dict[str, int] = {}

    def hear(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Granted(entry):
                    identity = (entry.name, entry.key, entry.token)
                    assert not self.entries.get(identity, False), f"{entry} was granted twice"
                    assert entry.token >= self.granted.get(entry.name, 0), "tokens grow from grant to grant"
                    self.granted[entry.name] = entry.token
                    self.entries[identity] = True
                case Queued(entry):
                    assert (entry.name, entry.key, entry.token) not in self.entries, f"{entry} was queued twice"
                    self.entries[entry.name, entry.key, entry.token] = False
                case Removed(entry):
                    held = self.entries.pop((entry.name, entry.key, entry.token), None)
                    assert held in (None, entry.granted)
                case Attached(session, attached_at):
                    assert attached_at > self.sessions.get(session, 0)
                    self.sessions[session] = attached_at
                case Ended(session):
                    del self.sessions[session]

    def agrees_with(self, table: Table) -> None:
        assert self.entries == {
            (each.name, each.key, each.token): each.granted for queue in table.locks.values() for each in queue.entries
        }
        assert self.sessions == {
            session: live.attached_at for session, live in table.sessions.items() if live.record is not None
        }


NAMES = st.sampled_from(["a", "b"])
SESSIONS = st.integers(1, 4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, SESSIONS, st.integers(1, 2), st.sampled_from(Mode)),
        st.tuples(st.just("delete"), st.integers(0, 99)),
        st.tuples(st.just("attach"), SESSIONS),
        st.tuples(st.just("forget"), SESSIONS),
        st.tuples(st.just("end lease"), SESSIONS),
        st.tuples(st.just("foreign"), NAMES, st.sampled_from(["694d", "695e"])),
    ),
    min_size=1,
    max_size=5,
)


class History(RuleBasedStateMachine):
    """One table folds every revision; another is resynced now and then; both must read as the keys do."""

    @initialize()
    def begin(self) -> None:
        self.etcd = Etcd()
        self.table, self.listener = Table(), Listener()
        self.late, self.late_listener = Table(), Listener()
        self.past: list[Revision] = []

    @rule(steps=STEPS)
    def commit(self, steps: list[tuple[object, ...]]) -> None:
        etcd = self.etcd
        number = etcd.revision + 1
        changes: list[Change] = []
        touched: set[object] = set()  # etcd writes no key twice in a revision
        for step in steps:
            changes += self._change(step, number, touched)
        if not changes:
            return
        etcd.revision = number
        held = {
            (name, line.key, line.token) for name, queue in lines(self.table).items() for line in queue if line.held
        }
        revision = Revision(number, changes)
        self.past.append(revision)
        self.listener.hear(self.table.fold(revision))
        now = {(name, line.key, line.token): line.held for name, queue in lines(self.table).items() for line in queue}
        assert all(now.get(identity, True) for identity in held), "granting is monotone"

    def _change(self, step: tuple[object, ...], number: int, touched: set[object]) -> list[Change]:
        """What one step changes among the keys."""
        etcd = self.etcd
        match step:
            case ("put", str(name), int(session), int(slot), Mode() as mode):
                key = entry_id(session, slot)
                if session in etcd.sessions and (name, key) not in etcd.entries and (name, key) not in touched:
                    touched |= {(name, key), session}
                    etcd.entries[name, key] = EntryPut(name, key, session, EntryRecord(number, mode), number)
                    return [etcd.entries[name, key]]
            case ("foreign", str(name), str(key)):
                if (name, key) not in touched:
                    touched.add((name, key))
                    known = etcd.entries.get((name, key))
                    token = known.token if known is not None else number
                    etcd.entries[name, key] = EntryPut(name, key, None, FOREIGN, token)
                    return [etcd.entries[name, key]]
            case ("delete", int(index)):
                free = [key for key in sorted(etcd.entries) if key not in touched]
                if free:
                    return [self._delete(free[index % len(free)], touched)]
            case ("attach", int(session)):
                if session not in touched and (session in etcd.sessions or not self._entries_of(session)):
                    touched.add(session)
                    etcd.sessions[session] = SessionPut(session, RECORD, number)
                    return [etcd.sessions[session]]
            case ("forget", int(session)):
                if session in etcd.sessions and session not in touched:
                    touched.add(session)
                    del etcd.sessions[session]
                    return [SessionDeleted(session)]
            case ("end lease", int(session)):
                keys = self._entries_of(session)
                if session not in touched and not touched & set(keys):
                    ended: list[Change] = [self._delete(key, touched) for key in keys]
                    touched.add(session)
                    if etcd.sessions.pop(session, None) is not None:
                        ended.append(SessionDeleted(session))
                    return ended
            case _:
                raise AssertionError(step)
        return []

    def _entries_of(self, session: int) -> list[Key]:
        return [key for key, put in self.etcd.entries.items() if put.session == session]

    def _delete(self, key: Key, touched: set[object]) -> EntryDeleted:
        touched.add(key)
        put = self.etcd.entries.pop(key)
        return EntryDeleted(put.name, put.key)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        before = repr(self.table)
        assert self.table.fold(data.draw(st.sampled_from(self.past))) == []
        assert repr(self.table) == before

    @rule()
    def resync(self) -> None:
        snapshot = self.etcd.snapshot()
        self.late_listener.hear(self.late.fold(self.late.difference(snapshot)))
        assert lines(self.late) == lines(self.table)
        assert self.late.revision == self.table.revision
        assert self._sessions(self.late) == self._sessions(self.table)
        self.late_listener.agrees_with(self.late)

    @staticmethod
    def _sessions(table: Table) -> dict[int, object]:
        return {
            session: (live.record, live.attached_at if live.record else None, sorted(live.entries))
            for session, live in table.sessions.items()
        }

    @invariant()
    def the_table_reads_as_the_keys_do(self) -> None:
        assert lines(self.table) == self.etcd.queues()
        self.listener.agrees_with(self.table)

    @invariant()
    def holders_are_one_writer_or_readers_at_the_head(self) -> None:
        for queue in self.table.locks.values():
            held = [entry.granted for entry in queue.entries]
            assert held == sorted(held, reverse=True)
            assert queue.holding == sum(held) > 0
            modes = [entry.record.mode for entry in queue.entries[: queue.holding]]
            assert modes in ([Mode.EXCLUSIVE], [Mode.SHARED] * len(modes))
            assert queue.entries == sorted(queue.entries, key=lambda entry: entry.order)

    @invariant()
    def positions_count_from_the_first_who_waits(self) -> None:
        for queue in self.table.locks.values():
            waiting = [queue.position(entry) for entry in queue.entries if not entry.granted]
            assert waiting == list(range(1, len(waiting) + 1))


TestHistory = History.TestCase
