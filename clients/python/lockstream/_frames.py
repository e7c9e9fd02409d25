"""Reads the server's frames to the ledger: which message means which step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream import _snapshot
from lockstream._claims import Claim, ClaimState
from lockstream._durations import seconds
from lockstream._errors import (
    LockstreamError,
    ServerDraining,
    SessionExpired,
    Superseded,
)
from lockstream._ledger import Ledger
from lockstream._link import ACQUIRE, CHANGE, OPERATION_BITS, OPERATION_MASK, RELEASE, SESSION, Link
from lockstream._reasons import LossNotice, LossReason
from lockstream._translation import from_status

if TYPE_CHECKING:
    from google.rpc import status_pb2

    from lockstream.v1 import session_pb2


def read(ledger: Ledger, link: Link, frame: session_pb2.SessionResponse, now: float) -> None:
    """Take in a frame that was read at `now` from the stream of `link`.

    Of a stream that is being tried only the answer to its greeting counts, of one that was left
    nothing does, and past the local deadline nothing does either.
    """
    ledger.expire(now)
    for response in frame.responses:
        if response.WhichOneof("kind") == "reply":
            if link is ledger.link:
                _reply(ledger, response.reply, now)
            elif not link.attached.done():
                _greeting(ledger, link, response.reply, now)
        elif link is ledger.link:
            _event(ledger, response.event, now)


def _greeting(ledger: Ledger, link: Link, reply: session_pb2.Reply, now: float) -> None:
    """The answer to `open` or `resume`, which is the first request of a stream."""
    if reply.HasField("attached"):
        if ledger.ended is None or ledger.closing is not None:
            ledger.attach(link, reply.attached)
            for lost in reply.attached.evicted:
                _lost(ledger, lost)
            _snapshot.settle(ledger, link, reply.attached.claims, now)
    elif reply.HasField("error"):
        link.attached.set_exception(from_status(reply.error))


def _reply(ledger: Ledger, reply: session_pb2.Reply, now: float) -> None:
    subject = reply.request_id >> OPERATION_BITS
    claim = ledger.claims.get(subject)
    if claim is not None and reply.request_id == subject << OPERATION_BITS:
        claim.unanswered = False
    match reply.WhichOneof("outcome"):
        case "granted":
            ledger.grant(reply.granted.acquire_id, reply.granted.token)
        case "released" | "cancelled":
            if claim is not None:
                ledger.finish(claim)
        case "queued":
            if claim is not None:
                ledger.queue(claim, reply.queued.position)
        case "downgraded" | "value_set" | "yield_asked":
            ledger.changes.succeed(subject)
        case "error":
            _failed(ledger, reply.request_id, reply.error, now)
        case "proof":
            ledger.prove(seconds(reply.proof.remaining))
        case "closed":
            ledger.closed()
        case _:
            pass  # an outcome of a newer protocol: nothing that concerns a claim


def _event(ledger: Ledger, event: session_pb2.Event, now: float) -> None:
    match event.WhichOneof("event"):
        case "granted":
            ledger.grant(event.granted.acquire_id, event.granted.token)
        case "wait_ended":
            _wait_ended(ledger, event.wait_ended)
        case "lost":
            _lost(ledger, event.lost)
        case "position_changed":
            claim = ledger.claims.get(event.position_changed.acquire_id)
            if claim is not None:
                ledger.queue(claim, event.position_changed.position)
        case "yield_requested":
            _yield_requested(ledger, event.yield_requested)
        case "jeopardy":
            ledger.in_jeopardy = True
        case "safe":
            ledger.out_of_jeopardy(now)
        case "draining":
            ledger.drain()
        case "session_ended":
            error = from_status(event.session_ended.error)
            if isinstance(error, Superseded):
                ledger.supersede(error, now)
            else:
                ledger.end(error, LossReason.LEASE_EXPIRED)
        case _:
            pass  # an event of a newer protocol


def _wait_ended(ledger: Ledger, ended: session_pb2.WaitEnded) -> None:
    claim = ledger.claims.get(ended.acquire_id)
    error = from_status(ended.error)
    # Superseded, the session still has its queue places; the event that follows tells whether it is
    # still ours.
    if claim is not None and not isinstance(error, Superseded):
        ledger.end_wait(claim, error)


def _lost(ledger: Ledger, lost: session_pb2.Lost) -> None:
    claim = ledger.claims.get(lost.acquire_id)
    reason = _loss_reason(lost.reason)
    # Superseded, the session still has its locks; the event that follows tells whether it is still
    # ours.
    if claim is not None and claim.token == lost.token and reason is not LossReason.SUPERSEDED:
        ledger.lose(claim, LossNotice(reason, lost.detail, lost.actor))


def _yield_requested(ledger: Ledger, asked: session_pb2.YieldRequested) -> None:
    claim = ledger.claims.get(asked.acquire_id)
    if claim is not None and claim.state is ClaimState.HELD and claim.token == asked.token:
        claim.hold.ask_to_yield(seconds(asked.remaining) if asked.HasField("remaining") else None)


def _failed(ledger: Ledger, request_id: int, status: status_pb2.Status, now: float) -> None:
    error = from_status(status)
    subject, operation = request_id >> OPERATION_BITS, request_id & OPERATION_MASK
    if isinstance(error, SessionExpired):
        ledger.end(error, LossReason.LEASE_EXPIRED)
    elif isinstance(error, Superseded):
        ledger.supersede(error, now)
    elif isinstance(error, ServerDraining):
        ledger.drain()  # what was asked stands, and is asked again after the resume
    elif operation == SESSION:
        _session_request_failed(ledger, request_id, error)
    elif operation == CHANGE:
        ledger.changes.fail(subject, error)
    elif (claim := ledger.claims.get(subject)) is not None:
        _claim_request_failed(ledger, operation, claim, error)


def _claim_request_failed(ledger: Ledger, operation: int, claim: Claim, error: LockstreamError) -> None:
    """An acquire, a release or a cancel failed, and the session stands."""
    if operation == ACQUIRE:
        if claim.state is ClaimState.LEAVING:
            pass  # its cancel is on the way
        elif error.outcome_settled:
            ledger.fail(claim, error)
        else:
            ledger.give_up(claim, error)
    elif error.retryable:
        ledger.unsettled.append(claim)
    elif operation == RELEASE:
        ledger.fail(claim, error)
    else:
        ledger.finish(claim)


def _session_request_failed(ledger: Ledger, request_id: int, error: LockstreamError) -> None:
    """A heartbeat or a close failed: the stream lives, but nothing is proven."""
    link = ledger.link
    if link is None:
        pass  # it was left by what came before in this frame
    elif request_id == link.close_id:
        ledger.closed(error)
    else:
        link.heartbeat_open = False


def _loss_reason(number: int) -> LossReason:
    """The reason of a loss. Whatever a newer server may call it, the lock is lost."""
    try:
        return LossReason(number)
    except ValueError:
        return LossReason.LEASE_EXPIRED
