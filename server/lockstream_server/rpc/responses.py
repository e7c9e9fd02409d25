"""What a client is told, from core values to messages."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration

from lockstream.v1 import errors_pb2, lock_pb2, session_pb2
from lockstream_server.core import messages
from lockstream_server.core.errors import LockError
from lockstream_server.core.model import Mode, session_text
from lockstream_server.rpc.errors import to_status

MODES: Mapping[Mode, lock_pb2.Mode.ValueType] = {mode: lock_pb2.Mode.Value(f"MODE_{mode.name}") for mode in Mode}
LOSSES: Mapping[messages.LossReason, errors_pb2.LossReason.ValueType] = {
    reason: errors_pb2.LossReason.Value(f"LOSS_REASON_{reason.name}") for reason in messages.LossReason
}


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
    for lost in attached.evicted:
        _fill_lost(target.evicted.add(), lost)


def _claim(claim: messages.Claim) -> session_pb2.Claim:
    return session_pb2.Claim(
        acquire_id=claim.acquire,
        name=claim.name,
        mode=MODES[claim.mode],
        owner=claim.owner,
        state=_state(claim.held),
        token=claim.token,
        position=claim.position,
        names=claim.names,
    )


def _put_wait_ended(event: session_pb2.Event, ended: messages.WaitEnded) -> None:
    event.wait_ended.acquire_id = ended.acquire
    event.wait_ended.error.CopyFrom(to_status(ended.error))


def _fill_lost(target: session_pb2.Lost, lost: messages.Lost) -> None:
    target.acquire_id = lost.acquire
    target.name = lost.name
    target.token = lost.token
    target.reason = LOSSES[lost.reason]
    target.detail = lost.detail
    target.actor = lost.actor


def _put_position_changed(event: session_pb2.Event, changed: messages.PositionChanged) -> None:
    event.position_changed.acquire_id = changed.acquire
    event.position_changed.position = changed.position


def _put_yield_requested(event: session_pb2.Event, asked: messages.YieldRequested) -> None:
    target = event.yield_requested
    target.acquire_id = asked.acquire
    target.name = asked.name
    target.token = asked.token
    if asked.remaining is not None:
        _set_duration(target.remaining, asked.remaining)


_OUTCOMES: Mapping[type[Any], Callable[[session_pb2.Reply, Any], None]] = {
    messages.Granted: _put_granted,
    messages.Queued: _put_queued,
    messages.Released: lambda reply, _: reply.released.SetInParent(),
    messages.Cancelled: _put_cancelled,
    messages.Proof: _put_proof,
    messages.Attached: _put_attached,
    messages.Closed: lambda reply, _: reply.closed.SetInParent(),
    messages.Downgraded: lambda reply, _: reply.downgraded.SetInParent(),
    messages.ValueSet: lambda reply, _: reply.value_set.SetInParent(),
    messages.YieldAsked: lambda reply, _: reply.yield_asked.SetInParent(),
    LockError: _put_error,
}

_HAPPENINGS: Mapping[type[Any], Callable[[session_pb2.Event, Any], None]] = {
    messages.Granted: _put_granted,
    messages.WaitEnded: _put_wait_ended,
    messages.Lost: lambda event, lost: _fill_lost(event.lost, lost),
    messages.PositionChanged: _put_position_changed,
    messages.YieldRequested: _put_yield_requested,
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
