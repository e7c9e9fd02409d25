"""What a client asks, from messages to core values.

What comes in is checked here, so that a value which reaches a session is well formed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lockstream.v1 import lock_pb2, session_pb2
from lockstream_server.core import messages
from lockstream_server.core.errors import LockError, invalid
from lockstream_server.core.model import PLAIN, Mode, Terms, check_name
from lockstream_server.rpc import fields, terms
from lockstream_server.store.port import MAX_PARTS

MAX_OWNER_BYTES = 256
MAX_CLIENT_NAME_BYTES = 256
MAX_RESUME_TOKEN_BYTES = 256

MODES: Mapping[int, Mode] = {
    lock_pb2.MODE_UNSPECIFIED: Mode.EXCLUSIVE,
    lock_pb2.MODE_EXCLUSIVE: Mode.EXCLUSIVE,
    lock_pb2.MODE_SHARED: Mode.SHARED,
    lock_pb2.MODE_PERMITS: Mode.PERMITS,
}
"""The modes that can be asked for."""

Waiting = session_pb2.Acquire | session_pb2.AcquireAll | session_pb2.Upgrade


def request(message: session_pb2.Request) -> messages.Request:
    """What a client asks. Raises LockError (INVALID_ARGUMENT)."""
    action = message.WhichOneof("action")
    if action is None:
        raise invalid("action", "must be set")
    return _REQUESTS[action](getattr(message, action))


def _acquire(message: session_pb2.Acquire) -> messages.Acquire:
    check_name(message.name)
    mode = _mode(message.mode)
    return messages.Acquire(
        fields.identifier("acquire_id", message.acquire_id),
        message.name,
        mode,
        fields.text("owner", message.owner, MAX_OWNER_BYTES),
        _wait(message),
        terms.of_acquire(message, mode),
    )


def _acquire_all(message: session_pb2.AcquireAll) -> messages.AcquireAll:
    if not 0 < len(message.parts) <= MAX_PARTS:
        raise invalid("parts", f"must be 1 to {MAX_PARTS} locks, and are {len(message.parts)}")
    names = set()
    parts = []
    for index, part in enumerate(message.parts):
        try:
            parts.append(_part(part, len(message.parts)))
        except LockError as error:
            raise invalid(f"parts[{index}].{error.field}", error.detail) from None
        if part.name in names:
            raise invalid(f"parts[{index}].name", f"{part.name!r} is asked for twice")
        names.add(part.name)
    return messages.AcquireAll(
        fields.identifier("acquire_id", message.acquire_id),
        parts,
        fields.text("owner", message.owner, MAX_OWNER_BYTES),
        _wait(message),
    )


def _part(message: session_pb2.AcquireAll.Part, parts: int) -> messages.AcquirePart:
    check_name(message.name)
    mode = _mode(message.mode)
    permits, limit = terms.of_permits(message, mode)
    if parts == 1 and not limit:
        return messages.AcquirePart(message.name, mode, PLAIN)
    return messages.AcquirePart(message.name, mode, Terms(permits, limit, parts if parts > 1 else 0))


def _upgrade(message: session_pb2.Upgrade) -> messages.Upgrade:
    acquire = fields.identifier("acquire_id", message.acquire_id)
    shared = fields.identifier("shared_acquire_id", message.shared_acquire_id)
    if acquire == shared:
        raise invalid("acquire_id", "must be another than that of the shared hold")
    return messages.Upgrade(acquire, shared, fields.identifier("token", message.token), _wait(message))


def _downgrade(message: session_pb2.Downgrade) -> messages.Downgrade:
    return messages.Downgrade(
        fields.identifier("acquire_id", message.acquire_id), fields.identifier("token", message.token)
    )


def _set_value(message: session_pb2.SetValue) -> messages.SetValue:
    return messages.SetValue(
        fields.identifier("acquire_id", message.acquire_id),
        fields.identifier("token", message.token),
        terms.value(message.value),
        fields.labels("metadata", message.metadata),
    )


def _request_yield(message: session_pb2.RequestYield) -> messages.RequestYield:
    return messages.RequestYield(fields.identifier("acquire_id", message.acquire_id))


def _release(message: session_pb2.Release) -> messages.Release:
    return messages.Release(
        fields.identifier("acquire_id", message.acquire_id), fields.identifier("token", message.token)
    )


def _cancel(message: session_pb2.Cancel) -> messages.Cancel:
    return messages.Cancel(fields.identifier("acquire_id", message.acquire_id))


def _open(message: session_pb2.Open) -> messages.Open:
    client_name = fields.text("client_name", message.client_name, MAX_CLIENT_NAME_BYTES)
    labels = fields.labels("metadata", message.metadata)
    ttl = fields.duration("ttl", message.ttl) if message.HasField("ttl") else None
    if ttl is not None and ttl <= 0:
        raise invalid("ttl", "must be more than zero")
    grace = fields.duration("detach_grace", message.detach_grace) if message.HasField("detach_grace") else None
    if grace is not None and grace < 0:
        raise invalid("detach_grace", "must not be negative")
    return messages.Open(client_name, labels, ttl, grace, message.heartbeats)


def _resume(message: session_pb2.Resume) -> messages.Resume:
    token = fields.text("resume_token", message.resume_token, MAX_RESUME_TOKEN_BYTES)
    return messages.Resume(fields.session_id(message.session_id), token)


_REQUESTS: Mapping[str, Callable[[Any], messages.Request]] = {
    "open": _open,
    "resume": _resume,
    "heartbeat": lambda _: messages.Heartbeat(),
    "close": lambda _: messages.Close(),
    "acquire": _acquire,
    "acquire_all": _acquire_all,
    "upgrade": _upgrade,
    "downgrade": _downgrade,
    "set_value": _set_value,
    "request_yield": _request_yield,
    "release": _release,
    "cancel": _cancel,
}


def _mode(number: int) -> Mode:
    mode = MODES.get(number)
    if mode is None:
        raise invalid("mode", f"{number} is not a mode that can be asked for")
    return mode


def _wait(message: Waiting) -> float | None:
    """Seconds to wait; None for ever, NO_WAIT for not at all."""
    match message.WhichOneof("wait"):
        case "no_wait":
            return messages.NO_WAIT
        case "timeout":
            wait = fields.duration("timeout", message.timeout)
            if wait <= 0:
                raise invalid("timeout", "must be more than zero; use no_wait not to wait")
            return wait
        case "forever" | None:
            return None
