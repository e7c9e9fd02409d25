"""The parts without I/O: connection strings, backoff, the table of errors."""

from __future__ import annotations

import json
import re

import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import lockstream
from lockstream import ErrorReason, LossReason, _dsn
from lockstream._backoff import Backoff
from lockstream._translation import ErrorTable, from_status
from lockstream.v1 import errors_pb2


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("a:1", ("a:1",)),
        ("a", ("a:7420",)),
        ("a:1,b.example:2", ("a:1", "b.example:2")),
        ("[::1]:7", ("[::1]:7",)),
        ("[::1]", ("[::1]:7420",)),
        ("unix:///run/l.sock", ("unix:/run/l.sock",)),
        ("unix:l.sock", ("unix:l.sock",)),
        ("lockstream://a,b:1", ("a:7420", "b:1")),
        ("lockstreams://a", ("a:7420",)),
    ],
)
def test_targets(text: str, endpoints: tuple[str, ...]) -> None:
    """V2."""
    assert _dsn.parse(text).endpoints == endpoints


def test_options_of_a_connection_string() -> None:
    """V2."""
    target = _dsn.parse("lockstreams://a?ttl=10s&grace=500ms&name=a%20b&ca=/c&connect_timeout=1.5m")
    assert target.tls
    assert target.options == {
        "ttl": 10.0,
        "grace": 0.5,
        "name": "a b",
        "ca": "/c",
        "connect_timeout": 90.0,
    }


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty host"),
        ("a,,b", "empty host"),
        (":1", "empty host"),
        ("lockstream://", "empty host"),
        ("a:x", "bad port 'x'"),
        ("a:0", "bad port '0'"),
        ("a:65536", "bad port '65536'"),
        ("a:", "bad port ''"),
        ("a b:1", "bad host 'a b'"),
        ("user@a:1", "bad host 'user@a'"),
        ("::1", "empty host"),
        ("[::1", "bad host"),
        ("http://a", "unknown scheme 'http'"),
        ("lockstream://a/b", "bad host 'a/b'"),
        ("lockstream://a?tll=1s", "unknown option 'tll'"),
        ("lockstream://a?ttl=1s&ttl=2s", "'ttl' is given twice"),
        ("lockstream://a?ttl=", "'ttl' has no value"),
        ("lockstream://a?ttl", "'ttl' has no value"),
        ("lockstream://a?ttl=10", "bad value '10' of option 'ttl'"),
        ("lockstream://a?ttl=-1s", "bad value '-1s' of option 'ttl'"),
        ("lockstream://a?ttl=0s", "'ttl' must be more than zero"),
        ("lockstream://a?name=%FF", "bad value '%FF' of option 'name'"),
        ("lockstream://a?ca=x", "'ca' needs TLS"),
        ("lockstreams://a?cert=x", "'cert' and 'key' go together"),
        ("a:1?ttl=1s", "bad port"),
        ("local:x", "'local:' takes nothing"),
        ("unix:", "empty path"),
        ("unix://a", "bad path 'a'"),
    ],
)
def test_what_is_not_understood_is_named(text: str, part: str) -> None:
    """V2."""
    with pytest.raises(lockstream.ConfigError, match=part) as raised:
        lockstream.connect(text)
    assert isinstance(raised.value, ValueError)


DURATIONS = ["ttl", "grace", "connect_timeout", "backoff_min", "backoff_max"]


@pytest.mark.parametrize("option", DURATIONS)
@pytest.mark.parametrize(("text", "seconds"), [("2s", 2), ("1.5s", 1.5), ("250ms", 0.25), ("2m", 120)])
def test_each_duration_is_read_with_its_unit(option: str, text: str, seconds: float) -> None:
    """V2."""
    assert _dsn.parse(f"lockstream://a,b?{option}={text}").options == {option: seconds}


@pytest.mark.parametrize("option", DURATIONS)
@pytest.mark.parametrize("text", ["2", "s", "2h", "-2s", "2 s", "1e3s", "%32s", "inf", "nans"])
def test_each_duration_that_is_none_is_named(option: str, text: str) -> None:
    """V2."""
    with pytest.raises(lockstream.ConfigError, match=re.escape(f"bad value {text!r} of option {option!r}")):
        lockstream.connect(f"lockstream://a?{option}={text}")


@pytest.mark.parametrize("option", [*DURATIONS, "name", "ca", "cert", "key"])
def test_each_option_is_taken_once_with_a_value(option: str) -> None:
    """V2."""
    with pytest.raises(lockstream.ConfigError, match=f"'{option}' is given twice"):
        lockstream.connect(f"lockstreams://a?{option}=1s&{option}=1s")
    with pytest.raises(lockstream.ConfigError, match=f"'{option}' has no value"):
        lockstream.connect(f"lockstreams://a?{option}=")


def test_the_options_for_tls_are_read() -> None:
    """V2."""
    files = {"ca": "/a b.pem", "cert": "/c.pem", "key": "/k.pem"}
    assert _dsn.parse("lockstreams://a?ca=/a%20b.pem&cert=/c.pem&key=/k.pem").options == files


def test_stated_options_go_before_the_connection_strings() -> None:
    """V2."""
    with pytest.raises(lockstream.ConfigError, match="'ttl' must be more than zero, not -1"):
        lockstream.connect("lockstream://a?ttl=1s", ttl=-1)


def test_backoff_doubles_to_its_maximum_and_starts_again_on_success() -> None:
    """V3."""
    backoff = Backoff(0.1, 1, uniform=lambda: 1)
    delays = [backoff.next() for _ in range(6)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1])
    backoff.reset()
    assert backoff.next() == pytest.approx(0.1)


@pytest.mark.parametrize(("drawn", "delay"), [(0, 0.5), (0.5, 0.75), (1, 1)])
def test_backoff_is_jittered_over_its_upper_half(drawn: float, delay: float) -> None:
    """V3."""
    assert Backoff(1, 1, uniform=lambda: drawn).next() == pytest.approx(delay)


def test_the_error_table_is_complete() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118 - an enum wrapper is no dict
    assert {reason.name for reason in ErrorReason} == names - {"UNSPECIFIED"}
    assert set(ErrorTable.classes) == set(ErrorReason)
    for reason, error in ErrorTable.classes.items():
        assert error.reason is reason
        assert reason.value == errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason.name}")
        assert error.__name__ in lockstream.__all__


def test_the_loss_reasons_are_complete() -> None:
    wire = {name.removeprefix("LOSS_REASON_"): n for name, n in errors_pb2.LossReason.items()}
    assert {reason.name: reason.value for reason in LossReason} == {
        name: number for name, number in wire.items() if number
    }


def reported(reason: str, **metadata: str) -> lockstream.LockstreamError:
    """The exception for an error as a server reports it."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(domain="lockstream.v1", reason=reason, metadata=metadata))
    return from_status(status_pb2.Status(code=10, message="as it is", details=[detail]))


def test_a_deadlock_tells_its_cycle() -> None:
    waits = [lockstream.Wait("a1", "task-1", "a,b"), lockstream.Wait("b2", "", "c")]
    told = [{"session": wait.session_id, "owner": wait.owner, "name": wait.name} for wait in waits]
    error = reported("ERROR_REASON_DEADLOCK", cycle=json.dumps(told), retryable="true")
    assert isinstance(error, lockstream.Deadlock)
    assert error.cycle == tuple(waits)
    assert error.retryable


@pytest.mark.parametrize("metadata", [{}, {"cycle": "a -> b"}, {"cycle": "[1]"}, {"cycle": "{}"}, {"cycle": "[{}]"}])
def test_a_deadlock_whose_cycle_is_not_understood_is_still_one(metadata: dict[str, str]) -> None:
    error = reported("ERROR_REASON_DEADLOCK", **metadata)
    assert isinstance(error, lockstream.Deadlock)
    assert error.cycle == ()
    assert error.metadata == metadata


def test_a_reason_of_a_newer_server_is_told_as_it_is() -> None:
    error = reported("ERROR_REASON_MOON_PHASE", retryable="true", outcome_settled="false")
    assert type(error) is lockstream.LockstreamError
    assert str(error) == "ERROR_REASON_MOON_PHASE: as it is"
    assert (error.reason, error.retryable, error.outcome_settled) == (None, True, False)


@pytest.mark.parametrize(
    ("detail", "actor", "told"),
    [
        ("", "", "REMOVED_EXTERNALLY"),
        ("stuck", "", "REMOVED_EXTERNALLY: stuck"),
        ("", "al", "REMOVED_EXTERNALLY by al"),
    ],
)
def test_a_loss_tells_what_is_known_of_it(detail: str, actor: str, told: str) -> None:
    error = lockstream.LockLost("a", 7, LossReason.REMOVED_EXTERNALLY, detail, actor)
    assert str(error) == f"lock 'a' with token 7 was lost: {told}"
