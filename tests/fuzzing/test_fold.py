"""Any keys with any values under our prefix: the fold takes them in, and all that is made of them can be shown."""

from collections.abc import Sequence
from typing import Any

from etcd3.etcdrpc import kv_pb2
from hypothesis import given
from hypothesis import strategies as st

from lockstream_server.core.estimates import turns
from lockstream_server.core.observing import Watched, changes, lock_view
from lockstream_server.core.table import Table
from lockstream_server.rpc import views
from lockstream_server.store.etcd.watch import DELETE, decode_events, decode_puts, snapshot_of
from lockstream_server.store.keys import Keys
from tests.fuzzing.keys import WRITES, Write
from tests.support.tables import lines

OURS = Keys("/fuzz/")
EVERYTHING = Watched(None)
REVISIONS = st.lists(
    st.lists(WRITES, min_size=1, max_size=4, unique_by=lambda write: write[0]), min_size=1, max_size=12
)


class Etcd:
    """What etcd would make of it."""

    def __init__(self) -> None:
        self.revision = 1
        self.kvs: dict[bytes, Any] = {}

    def commit(self, writes: Sequence[Write]) -> list[Any]:
        """Write and delete in one transaction. Returns the events of it."""
        self.revision += 1
        return [event for key, value in writes for event in self._write(OURS.prefix + key, value)]

    def _write(self, key: bytes, value: bytes | None) -> list[Any]:
        known = self.kvs.pop(key, None)
        if value is None:
            gone = kv_pb2.KeyValue(key=key, mod_revision=self.revision)
            return [kv_pb2.Event(type=DELETE, kv=gone)] if known is not None else []
        created = known.create_revision if known is not None else self.revision
        self.kvs[key] = kv_pb2.KeyValue(key=key, value=value, create_revision=created, mod_revision=self.revision)
        return [kv_pb2.Event(kv=self.kvs[key])]


def show(table: Table) -> None:
    """Make of a table all that can be asked for."""
    for name, queue in table.locks.items():
        shown = views.lock(lock_view(name, queue, table))
        views.estimate(shown, 1.5, turns(queue.entries))
        assert shown.SerializeToString()
        assert all(table.position(entry) >= 0 for entry in queue.entries)
    for session, live in table.sessions.items():
        if live.record is not None:
            assert views.session(session, live.record, live, table).SerializeToString()
    for record in table.evictions.values():
        assert views.eviction(record).SerializeToString()


@given(REVISIONS)
def test_whatever_is_written_can_be_folded_and_shown(revisions: list[list[Write]]) -> None:
    etcd, table = Etcd(), Table()
    for writes in revisions:
        for revision in decode_events(OURS, etcd.commit(writes)):
            effects = table.fold(revision)
            for change in changes(table, effects, EVERYTHING):
                assert views.change(change).SerializeToString()
            show(table)


@given(REVISIONS)
def test_a_server_that_starts_late_reads_the_same(revisions: list[list[Write]]) -> None:
    """What one server has folded, another makes of what it finds: keys of others that come and go.

    Only our servers write over keys that are there.
    """
    etcd, table = Etcd(), Table()
    for writes in revisions:
        new = [(key, value) for key, value in writes if value is None or OURS.prefix + key not in etcd.kvs]
        for revision in decode_events(OURS, etcd.commit(new)):
            table.fold(revision)
    late = Table()
    late.fold(late.difference(snapshot_of(decode_puts(OURS, etcd.kvs.values()), etcd.revision)))
    assert lines(late) == lines(table)
    assert late.evictions == table.evictions
    recorded = {session: live.record for session, live in table.sessions.items() if live.record is not None}
    assert {session: live.record for session, live in late.sessions.items() if live.record is not None} == recorded
