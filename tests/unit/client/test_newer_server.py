"""What only a newer server can say, or something between it and the client: it is told as far as it is understood."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import lockstream
from lockstream import ChangeKind, EntryState, ErrorReason, LockChanges, LossReason, Mode
from lockstream._translation import from_rpc, from_status
from lockstream._views import entry_view, session_view
from lockstream.v1 import errors_pb2, lock_pb2, service_pb2, session_pb2
from tests.unit.client.scripted import status
from tests.unit.client.scripted_reads import scripted_reads

NEW = 99
"""A number which this client has no name for."""


def new_entry() -> lock_pb2.Entry:
    entry = lock_pb2.Entry(owner="me", token=7)
    entry.mode = NEW  # type: ignore[assignment]
    entry.state = NEW  # type: ignore[assignment]
    return entry


def test_a_new_mode_or_state_does_not_hide_the_rest() -> None:
    view = entry_view(new_entry())
    assert (view.mode, view.state, view.owner, view.token) == (Mode.UNKNOWN, EntryState.UNKNOWN, "me", 7)
    claim = session_pb2.Claim(name="a")
    claim.mode = NEW  # type: ignore[assignment]
    claim.state = NEW  # type: ignore[assignment]
    [seen] = session_view(service_pb2.Session(claims=[claim]), 1).claims
    assert (seen.name, seen.mode, seen.state) == ("a", Mode.UNKNOWN, EntryState.UNKNOWN)


async def test_a_watch_goes_on_over_a_new_kind_of_change_and_a_new_reason() -> None:
    new = service_pb2.LockChange(name="a", entry=new_entry())
    new.kind = NEW  # type: ignore[assignment]
    lost = service_pb2.LockChange(kind=service_pb2.LockChange.KIND_LOST, name="a", entry=new_entry())
    lost.reason = NEW  # type: ignore[assignment]
    known = service_pb2.LockChange(kind=service_pb2.LockChange.KIND_LOST, name="a", entry=new_entry())
    known.reason = errors_pb2.LOSS_REASON_FORCE_RELEASED
    async with scripted_reads() as server, lockstream.connect(server.target) as client:
        watch = client.watch_locks("a", after_revision=10)
        told = asyncio.ensure_future(anext(watch))
        await (await server.watch()).tell(12, new, lost, known)
        changes = await told
    assert isinstance(changes, LockChanges)
    assert [(change.kind, change.reason) for change in changes.changes] == [
        (ChangeKind.UNKNOWN, None),
        (ChangeKind.LOST, None),
        (ChangeKind.LOST, LossReason.FORCE_RELEASED),
    ]


def failed_call(code: grpc.StatusCode, details: bytes) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", details))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details="said a proxy")


def foreign_status() -> bytes:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(domain="proxy.example", reason="OVERLOADED"))
    return status_pb2.Status(code=14, message="overloaded", details=[detail]).SerializeToString()


@pytest.mark.parametrize(
    "details", [b"\xff\xff\xff", b"no status", foreign_status()], ids=["binary", "text", "a status"]
)
def test_details_that_are_not_the_servers_leave_the_code_to_tell(details: bytes) -> None:
    error = from_rpc(failed_call(grpc.StatusCode.UNAVAILABLE, details))
    assert isinstance(error, lockstream.ServerUnavailable)
    assert error.retryable
    assert "said a proxy" in str(error)
    error = from_rpc(failed_call(grpc.StatusCode.UNKNOWN, details))
    assert isinstance(error, lockstream.ProtocolError)
    assert "said a proxy" in str(error)


def test_the_servers_own_details_go_before_the_code() -> None:
    details = status(ErrorReason.DRAINING, retryable=True).SerializeToString()
    assert isinstance(from_rpc(failed_call(grpc.StatusCode.UNKNOWN, details)), lockstream.ServerDraining)


def test_a_detail_that_cannot_be_read_does_not_hide_the_servers() -> None:
    said = status(ErrorReason.NOT_HELD, retryable=False)
    broken = any_pb2.Any(type_url=said.details[0].type_url, value=b"\xff\xff\xff")
    assert isinstance(from_status(status_pb2.Status(details=[broken, *said.details])), lockstream.NotHeld)
    error = from_status(status_pb2.Status(code=9, message="as it is", details=[broken]))
    assert isinstance(error, lockstream.ProtocolError)
    assert "as it is" in str(error)
