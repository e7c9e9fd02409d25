"""Why a request failed and why a lock was lost: the reasons of `errors.proto` as Python enums."""

from __future__ import annotations

import enum
from typing import NamedTuple


class ErrorReason(enum.Enum):
    """Why a request failed.

    The values are those of `lockstream.v1.ErrorReason`, where each is explained.
    """

    INVALID_ARGUMENT = 1
    WRONG_STATE = 2
    WOULD_BLOCK = 3
    WAIT_TIMEOUT = 4
    CANCELLED = 5
    NOT_HELD = 6
    STALE_TOKEN = 7
    ALREADY_HELD = 8
    ACQUIRE_ID_REUSED = 9
    SESSION_EXPIRED = 10
    SUPERSEDED = 11
    BAD_RESUME_TOKEN = 12
    QUOTA_EXCEEDED = 13
    SLOW_CONSUMER = 14
    STORE_UNAVAILABLE = 15
    DRAINING = 16
    NOT_FOUND = 17
    INTERNAL = 18
    REMOVED_EXTERNALLY = 19
    LIMIT_MISMATCH = 20
    UPGRADE_CONFLICT = 21
    DEADLOCK = 22
    HISTORY_COMPACTED = 23


class LossReason(enum.Enum):
    """Why a held lock is held no longer. The values are those of `lockstream.v1.LossReason`."""

    LEASE_EXPIRED = 1
    """The session's lease ran out or was revoked, or the session was closed under the lock."""
    REMOVED_EXTERNALLY = 2
    """Somebody deleted the entry in etcd behind the service."""
    UNPROVEN = 3
    """Nobody could prove in time that the lease lives: the server could not, or was out of reach."""
    SUPERSEDED = 4
    """Another stream resumed the session and speaks for it now."""
    FORCE_RELEASED = 5
    """An operator took the lock away. `Loss.detail` and `Loss.actor` say why and who."""
    MAX_HOLD_EXCEEDED = 6
    """It was held for longer than its `max_hold`."""


class LossNotice(NamedTuple):
    """What is known of a loss."""

    reason: LossReason
    detail: str = ""
    """For FORCE_RELEASED: the reason which the operator stated. For MAX_HOLD_EXCEEDED: the server's."""
    actor: str = ""
    """For FORCE_RELEASED: who the operator said to be. For MAX_HOLD_EXCEEDED: the server."""
