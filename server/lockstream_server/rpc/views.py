"""What the reads return, and what observers are told, as messages."""

import math
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lockstream.v1 import errors_pb2, lock_pb2, service_pb2, session_pb2
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.model import Entry, EvictionRecord, SessionRecord, session_text
from lockstream_server.core.observing import ChangeKind, EntryState, EntryView, LockChange, LockView, position_of
from lockstream_server.core.table import LiveSession, Table
from lockstream_server.rpc.responses import LOSSES, MODES

STATES: Mapping[EntryState, lock_pb2.EntryState.ValueType] = {
    state: lock_pb2.EntryState.Value(f"ENTRY_STATE_{state.name}") for state in EntryState
}
KINDS: Mapping[ChangeKind, service_pb2.LockChange.Kind.ValueType] = {
    kind: service_pb2.LockChange.Kind.Value(f"KIND_{kind.name}") for kind in ChangeKind
}


def lock(view: LockView) -> lock_pb2.Lock:
    """A lock with its queue."""
    return lock_pb2.Lock(name=view.name, entries=[entry(each) for each in view.entries])


def entry(view: EntryView) -> lock_pb2.Entry:
    """One entry of a queue."""
    record, terms = view.record, view.record.terms
    message = lock_pb2.Entry(
        session_id=session_text(view.session) if view.session is not None else "",
        acquire_id=record.acquire,
        owner=record.owner,
        mode=MODES[record.mode],
        state=STATES[view.state],
        token=view.token,
        position=view.position,
        permits=terms.permits,
        limit=terms.limit,
        value=terms.value,
        metadata=terms.metadata,
        asks_yield=terms.asks_yield,
    )
    if record.acquire:  # a foreign entry has none, and says nothing of when it was asked for
        message.queued_at.CopyFrom(moment(record.queued_at))
    if view.granted_at is not None:
        message.granted_at.CopyFrom(moment(view.granted_at))
    if terms.max_hold:
        message.max_hold.CopyFrom(duration(terms.max_hold))
    if terms.lock_delay:
        message.lock_delay.CopyFrom(duration(terms.lock_delay))
    return message


def change(told: LockChange) -> service_pb2.LockChange:
    """One thing that happened to an entry."""
    reason = LOSSES[told.reason] if told.reason is not None else errors_pb2.LOSS_REASON_UNSPECIFIED
    return service_pb2.LockChange(kind=KINDS[told.kind], name=told.name, entry=entry(told.entry), reason=reason)


def estimate(message: lock_pb2.Lock, mean: float, turns: Iterable[float]) -> None:
    """Say how long each waiter may have to wait, in turns of the mean hold time in seconds."""
    waiters = (each for each in message.entries if each.state == lock_pb2.ENTRY_STATE_WAITING)
    for waiter, each in zip(waiters, turns, strict=True):
        waiter.estimated_wait.CopyFrom(duration(mean * each))


def session(identifier: int, record: SessionRecord, live: LiveSession, table: Table) -> service_pb2.Session:
    """A session with everything it holds and awaits."""
    acquires: dict[int, list[Entry]] = {}
    for each in live.entries.values():
        acquires.setdefault(each.record.acquire, []).append(each)
    return service_pb2.Session(
        session_id=session_text(identifier),
        client_name=record.client_name,
        metadata=record.metadata,
        ttl=Duration(seconds=record.ttl),
        detach_grace=duration(record.grace),
        server=record.server,
        generation=record.generation,
        opened_at=moment(record.opened_at),
        claims=[_claim(entries, table) for entries in acquires.values()],
    )


def _claim(entries: Sequence[Entry], table: Table) -> session_pb2.Claim:
    """One acquire, which has an entry for each of its names."""
    first = entries[0]
    held = all(each.granted for each in entries)
    return session_pb2.Claim(
        acquire_id=first.record.acquire,
        name=first.name,
        mode=MODES[first.record.mode],
        owner=first.record.owner,
        state=lock_pb2.ENTRY_STATE_HELD if held else lock_pb2.ENTRY_STATE_WAITING,
        token=first.token,
        position=max(position_of(table, each) for each in entries),
        names=[each.name for each in entries] if len(entries) > 1 else [],
    )


def eviction(record: EvictionRecord) -> lock_pb2.Eviction:
    """That a hold, or a session, was ended by somebody else than its client."""
    return lock_pb2.Eviction(
        name=record.name,
        session_id=session_text(record.session) if record.session else "",
        acquire_id=record.acquire,
        token=record.token,
        reason=record.reason or record.kind.name,
        actor=record.actor,
        evicted_at=moment(record.at),
    )


def session_not_found(identifier: int) -> LockError:
    """There is no such session to read."""
    return LockError(Reason.NOT_FOUND, f"there is no session {session_text(identifier)}")


def duration(seconds: float) -> Duration:
    """Rounded down to nanoseconds."""
    whole = math.floor(seconds)
    return Duration(seconds=whole, nanos=math.floor((seconds - whole) * 1e9))


def moment(seconds: float) -> Timestamp:
    """A time given in seconds since the epoch."""
    message = Timestamp()
    message.FromNanoseconds(int(seconds * 1e9))
    return message
