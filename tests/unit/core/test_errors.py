"""Every reason is complete everywhere it is spoken of: natures, gRPC codes, protos."""

import pytest
from google.rpc import error_details_pb2

from lockstream.v1 import errors_pb2, lock_pb2
from lockstream_server.core.errors import NATURES, LockError, Reason, invalid, quota_exceeded
from lockstream_server.core.messages import LossReason
from lockstream_server.core.model import Mode
from lockstream_server.rpc.errors import CODES, DOMAIN, to_status


def named(prefix: str, values: list[str]) -> set[str]:
    """The names of a proto enum without their prefix and without the unspecified one."""
    return {value.removeprefix(prefix) for value in values} - {"UNSPECIFIED"}


def test_every_reason_has_a_nature_and_a_code() -> None:
    assert set(NATURES) == set(Reason)
    assert set(CODES) == set(Reason)


def test_reasons_are_those_of_the_proto() -> None:
    assert named("ERROR_REASON_", errors_pb2.ErrorReason.keys()) == {reason.name for reason in Reason}


def test_loss_reasons_are_those_of_the_proto() -> None:
    assert named("LOSS_REASON_", errors_pb2.LossReason.keys()) == {reason.name for reason in LossReason}


def test_modes_are_those_of_the_proto() -> None:
    assert named("MODE_", lock_pb2.Mode.keys()) == {mode.name for mode in Mode}


@pytest.mark.parametrize("reason", Reason)
def test_a_status_says_what_a_program_needs(reason: Reason) -> None:
    status = to_status(LockError(reason, "because"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message) == (CODES[reason].value[0], "because")
    assert (info.reason, info.domain) == (reason.name, DOMAIN)
    assert dict(info.metadata) == {
        "retryable": str(NATURES[reason].retryable).lower(),
        "outcome_settled": str(NATURES[reason].outcome_settled).lower(),
    }


def test_an_invalid_argument_names_its_field() -> None:
    error = invalid("name", "must not be empty")
    request = error_details_pb2.BadRequest()
    assert to_status(error).details[1].Unpack(request)
    assert [violation.field for violation in request.field_violations] == ["name"]
    assert repr(error) == "LockError(INVALID_ARGUMENT, 'name: must not be empty')"


def test_a_quota_names_the_bound_and_its_value() -> None:
    error = quota_exceeded("sessions", 3, 4, "too many")
    assert error.metadata == {"limit": "sessions", "maximum": "3", "current": "4"}
    assert str(error) == "too many (sessions is 3, now 4)"
    assert error.nature == NATURES[Reason.QUOTA_EXCEEDED]
