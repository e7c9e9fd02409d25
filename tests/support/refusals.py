"""How calls of generated stubs are refused."""

from collections.abc import Callable

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status


def refusal(call: Callable[[], object]) -> status_pb2.Status:
    """The status with which a call fails."""
    with pytest.raises(grpc.RpcError) as refused:
        call()
    status: status_pb2.Status | None = rpc_status.from_call(refused.value)  # type: ignore[arg-type] # it is a call too
    assert status is not None
    return status


def assert_invalid(status: status_pb2.Status, field: str) -> None:
    """INVALID_ARGUMENT, whose details name the reason and the field, and say that repeating is of no use."""
    assert status.code == code_pb2.INVALID_ARGUMENT
    info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("lockstream.v1", "INVALID_ARGUMENT")
    assert dict(info.metadata) == {"retryable": "false", "outcome_settled": "true"}
    assert status.details[1].Unpack(violations)
    assert [violation.field for violation in violations.field_violations] == [field]
    assert violations.field_violations[0].description == status.message != ""
