"""Checks on single fields of requests, shared by everything that reads them."""

from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration

from lockstream_server.core.errors import invalid
from lockstream_server.core.model import MAX_ID, MAX_NAME_BYTES, parse_session

MAX_METADATA_PAIRS = 32
MAX_METADATA_BYTES = 4096
MAX_DURATION = 315_576_000_000
"""Seconds; what google.protobuf.Duration allows."""


def identifier(field: str, number: int) -> int:
    """An acquire's identifier or a token. Raises LockError (INVALID_ARGUMENT)."""
    if not 0 < number <= MAX_ID:
        raise invalid(field, f"must be from 1 to {MAX_ID}")
    return number


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


def text(field: str, value: str, most: int, *, least: int = 0) -> str:
    """A text of so many bytes of UTF-8. Raises LockError (INVALID_ARGUMENT)."""
    size = len(value.encode())
    if size > most:
        raise invalid(field, f"is longer than {most} bytes of UTF-8")
    if size < least:
        raise invalid(field, "must not be empty")
    return value


def prefix(value: str) -> str:
    """What names begin with. Raises LockError (INVALID_ARGUMENT) for what none can."""
    return text("prefix", value, MAX_NAME_BYTES)


def labels(field: str, pairs: Mapping[str, str]) -> Mapping[str, str]:
    """Labels that people read. Raises LockError (INVALID_ARGUMENT)."""
    found = dict(pairs)
    if len(found) > MAX_METADATA_PAIRS:
        raise invalid(field, f"has more than {MAX_METADATA_PAIRS} pairs")
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > MAX_METADATA_BYTES:
        raise invalid(field, f"is longer than {MAX_METADATA_BYTES} bytes")
    return found
