"""What an acquire asks for, checked before it can spoil the frame that carries everybody else's requests.

Whatever a message can say is left to the server to judge; refused here is only what no message can say, and what would
make a frame larger than servers take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lockstream._errors import InvalidArgument
from lockstream._requests import say_duration
from lockstream.v1 import lock_pb2, session_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lockstream._claims import Claim

MAX_NAME_BYTES = 512
"""Bytes of a name, at the most."""
MAX_OWNER_BYTES = 256
"""Bytes of an owner, at the most."""
MAX_REQUEST_BYTES = 65_536
"""Bytes of one request, at the most: more than the largest one which a server takes."""
MAX_COUNT = 2**32 - 1
"""The largest number which the messages have room for."""
MAX_WAIT = 315_576_000_000
"""Seconds that a wait lasts at the most: the longest duration that a message can say, 10,000 years."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of several locks that are acquired at once; see `Session.acquire_all`."""

    name: str
    shared: bool = False
    permits: int | None = None
    """How many permits to take, of a semaphore."""
    limit: int | None = None
    """How many permits the semaphore has."""


class Ask(NamedTuple):
    """What one acquire asks for, but for its number and its wait."""

    names: tuple[str, ...]
    owner: str
    shared: bool = False
    permits: int = 0
    request: session_pb2.Request | None = None
    """The message to send; None when name, owner and `shared` are all there is to say."""

    @property
    def name(self) -> str:
        """The name of the lock, or the first of several."""
        return self.names[0] if self.names else ""


def ask_one(
    name: str,
    owner: str,
    *,
    shared: bool,
    permits: int | None,
    limit: int | None,
    value: bytes,
    metadata: Mapping[str, str] | None,
    max_hold: float | None,
    yield_notice: float | None,
    lock_delay: float | None,
    request_yield: bool,
) -> Ask:
    """Ask for one lock. InvalidArgument for what cannot be said."""
    check_text("a name", name, MAX_NAME_BYTES)
    check_text("an owner", owner, MAX_OWNER_BYTES)
    if (
        (limit is None and permits is None)
        and not (value or metadata or request_yield)
        and (max_hold is None and yield_notice is None and lock_delay is None)
    ):
        return Ask((name,), owner, shared)
    try:
        request = session_pb2.Request()
        acquire = request.acquire
        acquire.name = name
        acquire.owner = owner
        acquire.value = value
        acquire.metadata.update(metadata or {})
        acquire.request_yield = request_yield
        _say_mode(acquire, shared=shared, permits=permits, limit=limit)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"lock {name!r}: {error}") from None
    say_duration(acquire.max_hold, "max_hold", max_hold)
    say_duration(acquire.yield_notice, "yield_notice", yield_notice)
    say_duration(acquire.lock_delay, "lock_delay", lock_delay)
    return Ask((name,), owner, shared, acquire.permits, _checked_size(request))


def as_parts(stated: Iterable[str | Part]) -> tuple[Part, ...]:
    """The locks to acquire at once. InvalidArgument for a single text, whose letters are hardly meant."""
    if isinstance(stated, str):
        raise InvalidArgument(f"the locks to acquire at once are names or parts, not the text {stated!r}")
    return tuple(part if isinstance(part, Part) else Part(part) for part in stated)


def ask_all(parts: Sequence[Part], owner: str) -> Ask:
    """Ask for several locks at once. InvalidArgument for what cannot be said."""
    check_text("an owner", owner, MAX_OWNER_BYTES)
    request = session_pb2.Request()
    acquire = request.acquire_all
    acquire.SetInParent()  # a list without names is for the server to refuse
    acquire.owner = owner
    for part in parts:
        check_text("a name", part.name, MAX_NAME_BYTES)
        try:
            said = acquire.parts.add(name=part.name)
            _say_mode(said, shared=part.shared, permits=part.permits, limit=part.limit)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"lock {part.name!r}: {error}") from None
    names = tuple(part.name for part in parts)
    return Ask(names, owner, all(part.shared for part in parts), 0, _checked_size(request))


def ask_upgrade(hold: Claim) -> Ask:
    """Ask for a shared hold to become exclusive."""
    request = session_pb2.Request()
    request.upgrade.shared_acquire_id = hold.acquire_id
    request.upgrade.token = hold.token
    return Ask(hold.names, hold.owner, request=request)


def say_downgrade(hold: Claim) -> session_pb2.Request:
    """The request which makes a hold shared."""
    request = session_pb2.Request()
    request.downgrade.acquire_id = hold.acquire_id
    request.downgrade.token = hold.token
    return request


def say_value(hold: Claim, value: bytes, metadata: Mapping[str, str]) -> session_pb2.Request:
    """The request which changes what a hold says of itself. InvalidArgument for what cannot be said."""
    request = session_pb2.Request()
    request.set_value.acquire_id = hold.acquire_id
    request.set_value.token = hold.token
    try:
        request.set_value.value = value
        request.set_value.metadata.update(metadata)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"value of lock {hold.name!r}: {error}") from None
    return _checked_size(request)


def say_yield(waiter: Claim) -> session_pb2.Request:
    """The request which asks for what an acquire waits for."""
    request = session_pb2.Request()
    request.request_yield.acquire_id = waiter.acquire_id
    return request


def check_text(what: str, text: str, limit: int) -> None:
    """InvalidArgument for a name, or an owner, that is none."""
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except (AttributeError, UnicodeEncodeError):
        raise InvalidArgument(f"{what} is text that UTF-8 can encode, not {text!r}") from None
    if size > limit:
        raise InvalidArgument(f"{what} has at most {limit} bytes, not {size}")


def checked_wait(wait: float | None) -> float | None:
    """The wait as the ledger takes it: None for ever, 0.0 for a try, else seconds."""
    if wait is None or wait is True:
        return None  # True as `threading.Lock.acquire(blocking=True)` has it; not one second
    if not 0 <= wait <= MAX_WAIT:
        raise InvalidArgument(f"wait is None, 0 or a number of seconds up to {MAX_WAIT:,}, not {wait}")
    return float(wait)


def _say_mode(
    acquire: session_pb2.Acquire | session_pb2.AcquireAll.Part, *, shared: bool, permits: int | None, limit: int | None
) -> None:
    if permits is None and limit is None:
        if shared:
            acquire.mode = lock_pb2.MODE_SHARED
        return
    if shared:
        raise InvalidArgument("permits are not shared: state either")
    for field, count in (("permits", permits), ("limit", limit)):
        if count is not None and not 0 <= count <= MAX_COUNT:
            raise InvalidArgument(f"{field} is a number from 1 up, not {count}")
    acquire.mode = lock_pb2.MODE_PERMITS
    acquire.permits = 1 if permits is None else permits
    acquire.limit = limit or 0


def _checked_size(request: session_pb2.Request) -> session_pb2.Request:
    size = request.ByteSize()
    if size > MAX_REQUEST_BYTES:
        raise InvalidArgument(f"a request has at most {MAX_REQUEST_BYTES} bytes, not {size}")
    return request
