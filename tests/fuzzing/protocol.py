"""What a server may answer at all: the documented statuses, each with its reason, and never one of its own defects."""

from collections.abc import Mapping

import grpc
from google.rpc import error_details_pb2, status_pb2

from lockstream.v1 import errors_pb2
from lockstream_server.core.errors import Reason
from lockstream_server.rpc.errors import CODES

REASONS = {name.removeprefix("ERROR_REASON_") for name, _ in errors_pb2.ErrorReason.items()} - {
    "UNSPECIFIED",
    "INTERNAL",
}
"""The documented ones, but for that of a defect."""
_CODES: Mapping[str, int] = {reason.name: code.value[0] for reason, code in CODES.items()}
_DETAILS = "grpc-status-details-bin"


def check_error(error: status_pb2.Status) -> Reason:
    """Its reason. Fails unless everything about it is as documented."""
    info = error_details_pb2.ErrorInfo()
    assert error.details, error
    assert error.details[0].Unpack(info), error
    assert info.domain == "lockstream.v1", error
    assert info.reason in REASONS, error
    assert error.code == _CODES[info.reason], error
    assert {"retryable", "outcome_settled"} <= {*info.metadata}, error
    assert error.message, error
    return Reason[info.reason]


def check_failure(failure: grpc.aio.AioRpcError) -> Reason:
    """The reason of a call that failed. Fails unless the server failed it as documented."""
    for key, value in failure.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            assert status.code == failure.code().value[0], failure
            return check_error(status)
    raise AssertionError(f"a status without a reason: {failure!r}")
