"""From what a server, or gRPC, says of a failure to the exception that is raised for it."""

from __future__ import annotations

from typing import ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from lockstream import _errors
from lockstream._errors import LockstreamError, ProtocolError, ServerUnavailable
from lockstream._reasons import ErrorReason

ERROR_DOMAIN = "lockstream.v1"
_REASON_PREFIX = "ERROR_REASON_"
_DETAILS_KEY = "grpc-status-details-bin"


class ErrorTable:
    """The one table from a server's reason to the exception that is raised for it."""

    classes: ClassVar[dict[ErrorReason, type[LockstreamError]]] = {
        ErrorReason.INVALID_ARGUMENT: _errors.InvalidArgument,
        ErrorReason.WRONG_STATE: _errors.WrongState,
        ErrorReason.WOULD_BLOCK: _errors.WouldBlock,
        ErrorReason.WAIT_TIMEOUT: _errors.WaitTimeout,
        ErrorReason.CANCELLED: _errors.AcquireCancelled,
        ErrorReason.NOT_HELD: _errors.NotHeld,
        ErrorReason.STALE_TOKEN: _errors.StaleToken,
        ErrorReason.ALREADY_HELD: _errors.AlreadyHeld,
        ErrorReason.ACQUIRE_ID_REUSED: _errors.AcquireIdReused,
        ErrorReason.SESSION_EXPIRED: _errors.SessionExpired,
        ErrorReason.SUPERSEDED: _errors.Superseded,
        ErrorReason.BAD_RESUME_TOKEN: _errors.BadResumeToken,
        ErrorReason.QUOTA_EXCEEDED: _errors.QuotaExceeded,
        ErrorReason.SLOW_CONSUMER: _errors.SlowConsumer,
        ErrorReason.STORE_UNAVAILABLE: _errors.StoreUnavailable,
        ErrorReason.DRAINING: _errors.ServerDraining,
        ErrorReason.NOT_FOUND: _errors.NotFound,
        ErrorReason.INTERNAL: _errors.ServerDefect,
        ErrorReason.REMOVED_EXTERNALLY: _errors.RemovedExternally,
        ErrorReason.LIMIT_MISMATCH: _errors.LimitMismatch,
        ErrorReason.UPGRADE_CONFLICT: _errors.UpgradeConflict,
        ErrorReason.DEADLOCK: _errors.Deadlock,
        ErrorReason.HISTORY_COMPACTED: _errors.HistoryCompacted,
    }


def from_status(status: status_pb2.Status) -> LockstreamError:
    """The exception for an error of the protocol.

    One without a reason is a `ProtocolError`.
    """
    return _told(status) or ProtocolError(f"error {status.code} without a reason: {status.message}")


def from_rpc(error: grpc.aio.AioRpcError) -> LockstreamError:
    """The exception for a call that failed, whether the server, something on the way or the transport failed it."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes) and (told := _told_in(value)) is not None:
            return told
    message = f"{error.code().name}: {error.details()}"
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return ServerUnavailable(message)
    return ProtocolError(message)


def _told_in(details: bytes) -> LockstreamError | None:
    """What the details of a failed call tell. Those of a proxy need not even be a status."""
    try:
        return _told(status_pb2.Status.FromString(details))
    except DecodeError:
        return None


def _told(status: status_pb2.Status) -> LockstreamError | None:
    """What a server tells with its reason; None when nothing here is from a server of ours."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        try:
            ours = detail.Unpack(info) and info.domain == ERROR_DOMAIN
        except DecodeError:
            continue
        if ours:
            return _from_info(info, status.message)
    return None


def _from_info(info: error_details_pb2.ErrorInfo, message: str) -> LockstreamError:
    try:
        reason = ErrorReason[info.reason.removeprefix(_REASON_PREFIX)]
    except KeyError:
        # A newer server has reasons this client does not; its own word on retrying still counts.
        return LockstreamError(f"{info.reason}: {message}", dict(info.metadata))
    return ErrorTable.classes[reason](message, dict(info.metadata))
