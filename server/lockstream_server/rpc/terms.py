"""What an acquire may say beyond its name and mode, checked."""

from lockstream.v1 import session_pb2
from lockstream_server.core.errors import invalid
from lockstream_server.core.model import PLAIN, Mode, Terms
from lockstream_server.rpc import fields

MAX_LIMIT = 1_000_000
"""Permits of one name."""
MAX_VALUE_BYTES = 4096
MIN_HOLD = 1.0
"""Seconds; the shortest max_hold."""
MAX_LOCK_DELAY = 600.0
"""Seconds."""
DEFAULT_NOTICE = 0.1
"""Of max_hold: how long before its end the holder is asked to yield, unless stated."""


def of_acquire(message: session_pb2.Acquire, mode: Mode) -> Terms:
    """The terms of an acquire. Raises LockError (INVALID_ARGUMENT)."""
    if mode is not Mode.PERMITS and not _says_anything(message):
        return PLAIN
    permits, limit = of_permits(message, mode)
    max_hold, notice = _hold_limit(message)
    return Terms(
        permits=permits,
        limit=limit,
        value=value(message.value),
        metadata=fields.labels("metadata", message.metadata) if message.metadata else PLAIN.metadata,
        max_hold=max_hold,
        yield_notice=notice,
        lock_delay=_lock_delay(message, mode),
        asks_yield=message.request_yield,
    )


def of_permits(message: session_pb2.Acquire | session_pb2.AcquireAll.Part, mode: Mode) -> tuple[int, int]:
    """How many permits are asked for, of how many. Raises LockError (INVALID_ARGUMENT)."""
    permits, limit = message.permits, message.limit
    if mode is not Mode.PERMITS:
        if permits or limit:
            raise invalid("limit" if limit else "permits", "is for MODE_PERMITS only")
        return 0, 0
    if not 0 < limit <= MAX_LIMIT:
        raise invalid("limit", f"must be from 1 to {MAX_LIMIT}")
    if permits > limit:
        raise invalid("permits", f"{permits} are more than the limit of {limit}")
    return permits or 1, limit


def value(content: bytes) -> bytes:
    """The value of a hold. Raises LockError (INVALID_ARGUMENT)."""
    if len(content) > MAX_VALUE_BYTES:
        raise invalid("value", f"is longer than {MAX_VALUE_BYTES} bytes")
    return content


def _says_anything(message: session_pb2.Acquire) -> bool:
    return bool(
        message.permits
        or message.limit
        or message.value
        or message.metadata
        or message.request_yield
        or message.HasField("max_hold")
        or message.HasField("yield_notice")
        or message.HasField("lock_delay")
    )


def _hold_limit(message: session_pb2.Acquire) -> tuple[float, float]:
    """The longest hold and the notice before its end, in seconds; zeros for no limit."""
    if not message.HasField("max_hold"):
        if message.HasField("yield_notice"):
            raise invalid("yield_notice", "needs max_hold")
        return 0.0, 0.0
    max_hold = fields.duration("max_hold", message.max_hold)
    if max_hold < MIN_HOLD:
        raise invalid("max_hold", f"must be at least {MIN_HOLD:g} s")
    if not message.HasField("yield_notice"):
        return max_hold, max_hold * DEFAULT_NOTICE
    notice = fields.duration("yield_notice", message.yield_notice)
    if notice < 0:
        raise invalid("yield_notice", "must not be negative")
    if notice >= max_hold:
        raise invalid("yield_notice", "must be less than max_hold")
    return max_hold, notice


def _lock_delay(message: session_pb2.Acquire, mode: Mode) -> float:
    if not message.HasField("lock_delay"):
        return 0.0
    delay = fields.duration("lock_delay", message.lock_delay)
    if not 0 <= delay <= MAX_LOCK_DELAY:
        raise invalid("lock_delay", f"must be from 0 to {MAX_LOCK_DELAY:g} s")
    if delay and mode is not Mode.EXCLUSIVE:
        raise invalid("lock_delay", "is for MODE_EXCLUSIVE only")
    return delay
