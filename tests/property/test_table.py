"""The fold against a model that computes everything anew from all keys, whatever history etcd makes."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lockstream_server.core.changes import Change, EvictionPut, Revision
from lockstream_server.core.effects import Attached, Cause, Effect, Ended, Granted, Queued, Removed, Rewritten
from lockstream_server.core.model import EntryRecord, Mode
from lockstream_server.core.observing import EntryState, change_of, concerned, lock_view
from lockstream_server.core.table import Table
from tests.property.keyspace import STEPS, Keyspace, Step
from tests.property.naive import holds, in_order
from tests.support.history import session_eviction
from tests.support.tables import Line, lines

Identity = tuple[str, str, int]


def expected(keys: Keyspace) -> dict[str, list[Line]]:
    return {
        name: [
            Line(put.key, put.session, put.record, put.token, held)
            for put, held in zip(queue, holds(queue), strict=True)
        ]
        for name, queue in in_order(keys.entries.values()).items()
    }


class Listener:
    """Knows only effects, and objects to any that does not fit those before."""

    def __init__(self) -> None:
        self.entries: dict[Identity, tuple[bool, EntryRecord]] = {}
        self.sessions: dict[int, int] = {}
        self.newest: dict[str, int] = {}

    def hear(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Granted(entry):
                    held, _ = self.entries.get((entry.name, entry.key, entry.token), (False, None))
                    assert not held, f"{entry} was granted twice"
                    assert entry.token >= self.newest.get(entry.name, 0), "tokens grow from grant to grant"
                    self.newest[entry.name] = entry.token
                    self.entries[entry.name, entry.key, entry.token] = (True, entry.record)
                case Queued(entry):
                    assert (entry.name, entry.key, entry.token) not in self.entries, f"{entry} was queued twice"
                    self.entries[entry.name, entry.key, entry.token] = (False, entry.record)
                case Rewritten(entry, before):
                    held, record = self.entries[entry.name, entry.key, entry.token]
                    assert record == before != entry.record
                    self.entries[entry.name, entry.key, entry.token] = (held, entry.record)
                case Removed(entry):
                    held, _ = self.entries.pop((entry.name, entry.key, entry.token), (entry.granted, None))
                    assert held == entry.granted
                case Attached(session, attached_at):
                    assert attached_at > self.sessions.get(session, 0)
                    self.sessions[session] = attached_at
                case Ended(session):
                    del self.sessions[session]

    def agrees_with(self, table: Table) -> None:
        assert self.entries == {
            (each.name, each.key, each.token): (each.granted, each.record)
            for queue in table.locks.values()
            for each in queue.entries
        }
        assert self.sessions == {
            session: live.attached_at for session, live in table.sessions.items() if live.record is not None
        }


class History(RuleBasedStateMachine):
    """One table folds every revision; another is resynced now and then; both must read as the keys do."""

    @initialize(steps=STEPS)
    def begin(self, steps: list[Step]) -> None:
        self.keys = Keyspace()
        self.table, self.listener = Table(), Listener()
        self.late, self.late_listener = Table(), Listener()
        self.past: list[Revision] = []
        self.seen: dict[Identity, EntryState] = {}
        self.commit([("attach", session) for session in range(1, 5)])
        self.commit(steps)

    @rule(steps=STEPS)
    def commit(self, steps: list[Step]) -> None:
        changes = self.keys.commit(steps)
        if not changes:
            return
        held = {
            (name, line.key, line.token) for name, queue in lines(self.table).items() for line in queue if line.held
        }
        revision = Revision(self.keys.revision, changes)
        self.past.append(revision)
        effects = self.table.fold(revision)
        self.listener.hear(effects)
        self.check_causes(effects, changes)
        self.watch(effects)
        now = {(name, line.key, line.token): line.held for name, queue in lines(self.table).items() for line in queue}
        assert all(now.get(identity, True) for identity in held), "granting is monotone"

    def watch(self, effects: Sequence[Effect]) -> None:
        """Who watches, and starts from nothing, knows as much as who reads."""
        for effect in effects:
            for entry in concerned(self.table, effect):
                change = change_of(self.table, effect, entry)
                if isinstance(effect, Removed):
                    self.seen.pop((entry.name, entry.key, entry.token), None)
                elif change is not None:
                    self.seen[entry.name, entry.key, entry.token] = change.entry.state
        assert self.seen == {
            (name, entry.key, entry.token): view.state
            for name, queue in self.table.locks.items()
            for entry, view in zip(queue.entries, lock_view(name, queue, self.table).entries, strict=True)
        }

    def check_causes(self, effects: Sequence[Effect], changes: Sequence[Change]) -> None:
        """Why each went is read from this revision's evictions, then from what is left of its session."""
        evicted = {(put.record.name, put.record.token): put.record for put in changes if isinstance(put, EvictionPut)}
        for effect in effects:
            match effect:
                case Removed(entry, cause, by):
                    ended_by = self.keys.evictions.get(f"{entry.session or 0:016x}")
                    if (entry.name, entry.token) in evicted:
                        assert (cause, by) == (Cause.EVICTED, evicted[entry.name, entry.token])
                    elif entry.session is None or entry.session in self.keys.sessions:
                        assert (cause, by) == (Cause.DELETED, None)
                    elif ended_by is not None:
                        assert (cause, by) == (Cause.EVICTED, ended_by)
                    else:
                        assert (cause, by) == (Cause.SESSION_ENDED, None)
                case Ended(session, by):
                    assert by in (None, session_eviction(session))
                    assert by is not None or ("", 0) not in evicted or evicted["", 0].session != session
                case _:
                    pass

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        before = repr(self.table)
        assert self.table.fold(data.draw(st.sampled_from(self.past))) == []
        assert repr(self.table) == before

    @rule()
    def resync(self) -> None:
        snapshot = self.keys.snapshot()
        self.late_listener.hear(self.late.fold(self.late.difference(snapshot)))
        assert lines(self.late) == lines(self.table)
        assert self.late.revision == self.table.revision
        assert self.late.evictions == self.table.evictions
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
        assert lines(self.table) == expected(self.keys)
        assert self.table.evictions == self.keys.evictions
        for session in range(5):
            theirs = [record for record in self.table.evictions.values() if record.session == session]
            assert [*self.table.evictions.of_session(session)] == theirs
        self.listener.agrees_with(self.table)

    @invariant()
    def those_who_hold_are_first_and_do_not_exclude_each_other(self) -> None:
        for queue in self.table.locks.values():
            held = [entry.granted for entry in queue.entries]
            assert held == sorted(held, reverse=True), "first come, first served"
            assert queue.holding == sum(held) > 0
            assert queue.entries == sorted(queue.entries, key=lambda entry: entry.order)
            holders = [(entry.record, entry.token) for entry in queue.entries if entry.granted]
            taken = sum(record.terms.permits for record, _ in holders)
            assert taken == queue.permits
            match [record.mode for record, _ in holders]:
                case [Mode.EXCLUSIVE | Mode.UPGRADE]:
                    pass
                case [Mode.SHARED, Mode.UPGRADE]:
                    [(_, shared), (upgrade, _)] = holders
                    assert upgrade.terms.upgrades == shared
                case [Mode.PERMITS, *_] as modes:
                    [limit] = {record.terms.limit for record, _ in holders}
                    assert set(modes) == {Mode.PERMITS}
                    assert taken <= limit
                case modes:
                    assert set(modes) == {Mode.SHARED}

    @invariant()
    def positions_count_from_the_first_who_waits(self) -> None:
        for queue in self.table.locks.values():
            waiting = [queue.position(entry) for entry in queue.entries if not entry.granted]
            assert waiting == list(range(1, len(waiting) + 1))
            assert {queue.position(entry) for entry in queue.entries if entry.granted} == {0}


TestHistory = History.TestCase
