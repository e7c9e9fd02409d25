"""Errors of the core as gRPC statuses: one table."""

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from lockstream_server.core.errors import LockError, Reason

DOMAIN = "lockstream.v1"
"""The domain of every ErrorInfo."""

CODES: Mapping[Reason, grpc.StatusCode] = {
    Reason.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.WRONG_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.WOULD_BLOCK: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.WAIT_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.NOT_HELD: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STALE_TOKEN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ALREADY_HELD: grpc.StatusCode.ALREADY_EXISTS,
    Reason.ACQUIRE_ID_REUSED: grpc.StatusCode.ALREADY_EXISTS,
    Reason.SESSION_EXPIRED: grpc.StatusCode.NOT_FOUND,
    Reason.SUPERSEDED: grpc.StatusCode.ABORTED,
    Reason.BAD_RESUME_TOKEN: grpc.StatusCode.PERMISSION_DENIED,
    Reason.QUOTA_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.SLOW_CONSUMER: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.REMOVED_EXTERNALLY: grpc.StatusCode.ABORTED,
    Reason.LIMIT_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UPGRADE_CONFLICT: grpc.StatusCode.ABORTED,
    Reason.DEADLOCK: grpc.StatusCode.ABORTED,
    Reason.HISTORY_COMPACTED: grpc.StatusCode.OUT_OF_RANGE,
}


def to_status(error: LockError) -> status_pb2.Status:
    """The error with everything a program may want to know of it."""
    info = error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata)
    info.metadata["retryable"] = str(error.nature.retryable).lower()
    info.metadata["outcome_settled"] = str(error.nature.outcome_settled).lower()
    status = status_pb2.Status(code=CODES[error.reason].value[0], message=error.detail)
    _pack(status.details.add(), info)
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.detail)
        _pack(status.details.add(), error_details_pb2.BadRequest(field_violations=[violation]))
    return status


def _pack(target: any_pb2.Any, message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> None:
    target.Pack(message)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: LockError) -> None:
    """End a call with the error."""
    details = to_status(error).SerializeToString()
    await context.abort(CODES[error.reason], error.detail, trailing_metadata=(("grpc-status-details-bin", details),))
