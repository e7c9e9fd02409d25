"""Messages to core values and back; the only place that names protobuf fields.

What comes in is checked here, so that a value which reaches a session is well formed.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration

from lockstream.v1 import errors_pb2, lock_pb2, service_pb2, session_pb2
from lockstream_server.core import messages
from lockstream_server.core.errors import LockError, Reason, invalid
from lockstream_server.core.model import (
    MAX_ID,
    Entry,
    Mode,
    SessionRecord,
    check_name,
    parse_session,
    session_text,
)
from lockstream_server.core.table import LiveSession, Queue
from lockstream_server.rpc.errors import to_status

MAX_OWNER_BYTES = 256
MAX_CLIENT_NAME_BYTES = 256
MAX_METADATA_PAIRS = 32
MAX_METADATA_BYTES = 4096
MAX_RESUME_TOKEN_BYTES = 256
MAX_DURATION = 315_576_000_000
"""Seconds; what google.protobuf.Duration allows."""

MODES: Mapping[int, Mode] = {
    lock_pb2.MODE_UNSPECIFIED: Mode.EXCLUSIVE,
    lock_pb2.MODE_EXCLUSIVE: Mode.EXCLUSIVE,
    lock_pb2.MODE_SHARED: Mode.SHARED,
}
MODES_BACK: Mapping[Mode, lock_pb2.Mode.ValueType] = {
    Mode.EXCLUSIVE: lock_pb2.MODE_EXCLUSIVE,
    Mode.SHARED: lock_pb2.MODE_SHARED,
}
LOSSES: Mapping[messages.LossReason, errors_pb2.LossReason.ValueType] = {
    reason: errors_pb2.LossReason.Value(f"LOSS_REASON_{reason.name}") for reason in messages.LossReason
}


# Requests.


def request(message: session_pb2.Request) -> messages.Request:
    """What a client asks. Raises LockError (INVALID_ARGUMENT)."""
    action = message.WhichOneof("action")
    if action is None:
        raise invalid("action", "must be set")
    return _REQUESTS[action](getattr(message, action))


def _acquire(message: session_pb2.Acquire) -> messages.Acquire:
    check_name(message.name)
    mode = MODES.get(message.mode)
    if mode is None:
        raise invalid("mode", f"{message.mode} is not a mode")
    _check_text("owner", message.owner, MAX_OWNER_BYTES)
    wait = None
    match message.WhichOneof("wait"):
        case "no_wait":
            wait = messages.NO_WAIT
        case "timeout":
            wait = duration("timeout", message.timeout)
            if wait <= 0:
                raise invalid("timeout", "must be more than zero; use no_wait not to wait")
        case "forever" | None:
            pass
    return messages.Acquire(_id("acquire_id", message.acquire_id), message.name, mode, message.owner, wait)


def _release(message: session_pb2.Release) -> messages.Release:
    return messages.Release(_id("acquire_id", message.acquire_id), _id("token", message.token))


def _cancel(message: session_pb2.Cancel) -> messages.Cancel:
    return messages.Cancel(_id("acquire_id", message.acquire_id))


def _open(message: session_pb2.Open) -> messages.Open:
    _check_text("client_name", message.client_name, MAX_CLIENT_NAME_BYTES)
    labels = dict(message.metadata)
    if len(labels) > MAX_METADATA_PAIRS:
        raise invalid("metadata", f"has more than {MAX_METADATA_PAIRS} pairs")
    if sum(len(key.encode()) + len(text.encode()) for key, text in labels.items()) > MAX_METADATA_BYTES:
        raise invalid("metadata", f"is longer than {MAX_METADATA_BYTES} bytes")
    ttl = duration("ttl", message.ttl) if message.HasField("ttl") else None
    if ttl is not None and ttl <= 0:
        raise invalid("ttl", "must be more than zero")
    grace = duration("detach_grace", message.detach_grace) if message.HasField("detach_grace") else None
    if grace is not None and grace < 0:
        raise invalid("detach_grace", "must not be negative")
    return messages.Open(message.client_name, labels, ttl, grace, message.heartbeats)


def _resume(message: session_pb2.Resume) -> messages.Resume:
    _check_text("resume_token", message.resume_token, MAX_RESUME_TOKEN_BYTES)
    return messages.Resume(session_id(message.session_id), message.resume_token)


_REQUESTS: Mapping[str, Callable[[Any], messages.Request]] = {
    "open": _open,
    "resume": _resume,
    "heartbeat": lambda _: messages.Heartbeat(),
    "close": lambda _: messages.Close(),
    "acquire": _acquire,
    "release": _release,
    "cancel": _cancel,
}


def session_id(text: str) -> int:
    """The session a client names. Raises LockError (INVALID_ARGUMENT)."""
    session = parse_session(text)
    if session is None:
        raise invalid("session_id", "must be 16 hexadecimal digits")
    return session


def duration(field: str, message: Duration) -> float:
    """Seconds. Raises LockError (INVALID_ARGUMENT) for what is no valid Duration."""
    seconds, nanos = message.seconds, message.nanos
    if abs(seconds) > MAX_DURATION or abs(nanos) >= 1_000_000_000 or seconds * nanos < 0:
        raise invalid(field, "is not a valid duration")
    return seconds + nanos / 1e9


def page_size(size: int) -> int:
    """How many items a page may have. Raises LockError (INVALID_ARGUMENT)."""
    if size < 0:
        raise invalid("page_size", "must not be negative")
    return min(size or 100, 1000)


def _id(field: str, number: int) -> int:
    if not 0 < number <= MAX_ID:
        raise invalid(field, f"must be from 1 to {MAX_ID}")
    return number


def token(number: int) -> int:
    """A fencing token. Raises LockError (INVALID_ARGUMENT)."""
    return _id("token", number)


def _check_text(field: str, text: str, most: int) -> None:
    if len(text.encode()) > most:
        raise invalid(field, f"is longer than {most} bytes of UTF-8")


# Replies and events.


def frame(outgoing: Iterable[messages.Message]) -> session_pb2.SessionResponse:
    """Everything that is ready to be sent, as one message."""
    result = session_pb2.SessionResponse()
    add = result.responses.add
    for message in outgoing:
        response = add()
        if isinstance(message, messages.Reply):
            reply = response.reply
            reply.request_id = message.request_id
            _OUTCOMES[type(message.outcome)](reply, message.outcome)
        else:
            event = response.event
            event.sequence = message.sequence
            _HAPPENINGS[type(message.happening)](event, message.happening)
    return result


def _put_granted(target: session_pb2.Reply | session_pb2.Event, granted: messages.Granted) -> None:
    target.granted.acquire_id = granted.acquire
    target.granted.token = granted.token


def _put_queued(reply: session_pb2.Reply, queued: messages.Queued) -> None:
    reply.queued.acquire_id = queued.acquire
    reply.queued.position = queued.position


def _put_proof(reply: session_pb2.Reply, proof: messages.Proof) -> None:
    _set_duration(reply.proof.remaining, proof.remaining)


def _put_cancelled(reply: session_pb2.Reply, cancelled: messages.Cancelled) -> None:
    reply.cancelled.was_granted = cancelled.was_granted


def _put_error(reply: session_pb2.Reply, error: LockError) -> None:
    reply.error.CopyFrom(to_status(error))


def _put_attached(reply: session_pb2.Reply, attached: messages.Attached) -> None:
    target = reply.attached
    target.session_id = session_text(attached.session)
    target.resume_token = attached.resume_token
    target.ttl.seconds = attached.ttl
    _set_duration(target.detach_grace, attached.grace)
    _set_duration(target.remaining, attached.remaining)
    target.claims.extend(_claim(claim) for claim in attached.claims)
    target.server = attached.server
    target.generation = attached.generation


def _claim(claim: messages.Claim) -> session_pb2.Claim:
    return session_pb2.Claim(
        acquire_id=claim.acquire,
        name=claim.name,
        mode=MODES_BACK[claim.mode],
        owner=claim.owner,
        state=_state(claim.held),
        token=claim.token,
        position=claim.position,
    )


def _put_wait_ended(event: session_pb2.Event, ended: messages.WaitEnded) -> None:
    event.wait_ended.acquire_id = ended.acquire
    event.wait_ended.error.CopyFrom(to_status(ended.error))


def _put_lost(event: session_pb2.Event, lost: messages.Lost) -> None:
    event.lost.acquire_id = lost.acquire
    event.lost.name = lost.name
    event.lost.token = lost.token
    event.lost.reason = LOSSES[lost.reason]


_OUTCOMES: Mapping[type[Any], Callable[[session_pb2.Reply, Any], None]] = {
    messages.Granted: _put_granted,
    messages.Queued: _put_queued,
    messages.Released: lambda reply, _: reply.released.SetInParent(),
    messages.Cancelled: _put_cancelled,
    messages.Proof: _put_proof,
    messages.Attached: _put_attached,
    messages.Closed: lambda reply, _: reply.closed.SetInParent(),
    LockError: _put_error,
}

_HAPPENINGS: Mapping[type[Any], Callable[[session_pb2.Event, Any], None]] = {
    messages.Granted: _put_granted,
    messages.WaitEnded: _put_wait_ended,
    messages.Lost: _put_lost,
    messages.Jeopardy: lambda event, happening: _set_duration(event.jeopardy.remaining, happening.remaining),
    messages.Safe: lambda event, happening: _set_duration(event.safe.remaining, happening.remaining),
    messages.Draining: lambda event, happening: event.draining.until.FromNanoseconds(int(happening.until * 1e9)),
    messages.SessionEnded: lambda event, ended: event.session_ended.error.CopyFrom(to_status(ended.error)),
}


def _set_duration(target: Duration, seconds: float) -> None:
    """Rounded down, so that a proof is never overstated."""
    whole = math.floor(seconds)
    target.seconds = whole
    target.nanos = math.floor((seconds - whole) * 1e9)
    target.SetInParent()


def _state(held: bool) -> lock_pb2.EntryState.ValueType:
    return lock_pb2.ENTRY_STATE_HELD if held else lock_pb2.ENTRY_STATE_WAITING


# What the reads return.


def lock(name: str, queue: Queue | None) -> lock_pb2.Lock:
    """A lock with its queue; None is a free one."""
    entries = queue.entries if queue is not None else []
    holding = queue.holding if queue is not None else 0
    return lock_pb2.Lock(name=name, entries=[_entry(entry, index - holding + 1) for index, entry in enumerate(entries)])


def _entry(entry: Entry, position: int) -> lock_pb2.Entry:
    message = lock_pb2.Entry(
        session_id=session_text(entry.session) if entry.session is not None else "",
        acquire_id=entry.record.acquire,
        owner=entry.record.owner,
        mode=MODES_BACK[entry.record.mode],
        state=_state(entry.granted),
        token=entry.token,
        position=0 if entry.granted else position,
    )
    if entry.session is not None:
        message.queued_at.FromNanoseconds(int(entry.record.queued_at * 1e9))
    if entry.granted_at is not None:
        message.granted_at.FromNanoseconds(int(entry.granted_at * 1e9))
    return message


def session(
    identifier: int, record: SessionRecord, live: LiveSession, position: Callable[[Entry], int]
) -> service_pb2.Session:
    """A session with everything it holds and awaits."""
    message = service_pb2.Session(
        session_id=session_text(identifier),
        client_name=record.client_name,
        metadata=record.metadata,
        ttl=Duration(seconds=record.ttl),
        server=record.server,
        generation=record.generation,
        claims=[
            session_pb2.Claim(
                acquire_id=entry.record.acquire,
                name=entry.name,
                mode=MODES_BACK[entry.record.mode],
                owner=entry.record.owner,
                state=_state(entry.granted),
                token=entry.token,
                position=position(entry),
            )
            for entry in live.entries.values()
        ],
    )
    _set_duration(message.detach_grace, record.grace)
    message.opened_at.FromNanoseconds(int(record.opened_at * 1e9))
    return message


def not_found(identifier: int) -> LockError:
    """There is no such session to read."""
    return LockError(Reason.NOT_FOUND, f"there is no session {session_text(identifier)}")
