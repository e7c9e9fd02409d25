"""The exceptions of the client, one for each reason a server can give."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from lockstream._reasons import ErrorReason, LossReason

if TYPE_CHECKING:
    from collections.abc import Mapping


class LockstreamError(Exception):
    """Anything that went wrong with a lock or a session.

    `reason` is the server's reason, a `LossReason` for `LockLost`, or None for what the client
    found out by itself. `retryable` tells whether the same call may succeed later with nothing else
    changed. `outcome_settled` tells whether the call certainly had no effect and will have none.
    `metadata` is what else the server said, such as the `limit` that was passed.
    """

    reason: ErrorReason | LossReason | None = None
    retryable: bool = False
    outcome_settled: bool = True

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.metadata: Mapping[str, str] = metadata or {}
        if "retryable" in self.metadata:
            self.retryable = self.metadata["retryable"] == "true"
        if "outcome_settled" in self.metadata:
            self.outcome_settled = self.metadata["outcome_settled"] == "true"


class ConfigError(LockstreamError, ValueError):
    """A connection string or an option was not understood. The sentence names the part."""


class ServerUnavailable(LockstreamError):
    """No server could be reached, or the one reached did not answer in time."""

    retryable = True
    outcome_settled = False


class ProtocolError(LockstreamError):
    """The other side does not speak this protocol: it is no Lockstream server, or a newer one."""

    outcome_settled = False


class LockLost(LockstreamError):
    """A lock that was held is held no longer, and not because it was released.

    Stop what it protects. When an operator took it away, `detail` is the reason stated, and `actor` who did it.
    """

    reason: LossReason

    def __init__(self, name: str, token: int, reason: LossReason, detail: str = "", actor: str = "") -> None:
        by = f" by {actor}" if actor else ""
        why = f": {detail}" if detail else ""
        super().__init__(f"lock {name!r} with token {token} was lost: {reason.name}{by}{why}")
        self.name = name
        self.token = token
        self.reason = reason
        self.detail = detail
        self.actor = actor


class InvalidArgument(LockstreamError, ValueError):
    """A field is malformed or out of range."""

    reason = ErrorReason.INVALID_ARGUMENT


class WrongState(LockstreamError):
    """The call does not fit the state of the session, such as one that is closed already, or of the lock."""

    reason = ErrorReason.WRONG_STATE


class WouldBlock(LockstreamError):
    """The lock is taken and the acquire did not want to wait. It has no place in the queue."""

    reason = ErrorReason.WOULD_BLOCK
    retryable = True


class WaitTimeout(LockstreamError, TimeoutError):
    """The lock was not granted within the wait. The place in the queue is given up."""

    reason = ErrorReason.WAIT_TIMEOUT
    retryable = True


class AcquireCancelled(LockstreamError):
    """The acquire was withdrawn before it was granted."""

    reason = ErrorReason.CANCELLED
    retryable = True


class NotHeld(LockstreamError):
    """The lock is not held: released already, or never granted."""

    reason = ErrorReason.NOT_HELD


class StaleToken(LockstreamError):
    """The lock is held, but with another fencing token."""

    reason = ErrorReason.STALE_TOKEN


class AlreadyHeld(LockstreamError):
    """The same owner holds or awaits this name already, so waiting would be waiting for itself."""

    reason = ErrorReason.ALREADY_HELD


class AcquireIdReused(LockstreamError):
    """Two different acquires of one session bore the same identifier: a defect of a client."""

    reason = ErrorReason.ACQUIRE_ID_REUSED


class SessionExpired(LockstreamError):
    """The session ended, and with it all its locks and queue places. Open another."""

    reason = ErrorReason.SESSION_EXPIRED


class Superseded(LockstreamError):
    """Another stream resumed the session; this one can no longer act for it."""

    reason = ErrorReason.SUPERSEDED


class BadResumeToken(LockstreamError):
    """The resume token is not the session's."""

    reason = ErrorReason.BAD_RESUME_TOKEN


class QuotaExceeded(LockstreamError):
    """A bound of the server would be passed; `metadata["limit"]` names it."""

    reason = ErrorReason.QUOTA_EXCEEDED
    retryable = True


class SlowConsumer(LockstreamError):
    """This client read too slowly. The stream ended; the session is resumed by itself."""

    reason = ErrorReason.SLOW_CONSUMER
    retryable = True
    outcome_settled = False


class StoreUnavailable(LockstreamError):
    """The server could not reach etcd in time, or etcd is out of space."""

    reason = ErrorReason.STORE_UNAVAILABLE
    retryable = True
    outcome_settled = False


class ServerDraining(LockstreamError):
    """The server is shutting down."""

    reason = ErrorReason.DRAINING
    retryable = True


class NotFound(LockstreamError):
    """There is no such session."""

    reason = ErrorReason.NOT_FOUND


class ServerDefect(LockstreamError):
    """The server failed in a way it did not foresee; its log tells more."""

    reason = ErrorReason.INTERNAL
    outcome_settled = False


class RemovedExternally(LockstreamError):
    """The waiting entry was deleted in etcd behind the service."""

    reason = ErrorReason.REMOVED_EXTERNALLY
    retryable = True


class LimitMismatch(LockstreamError):
    """Others hold or await permits of this name with another limit: `metadata["limit"]`."""

    reason = ErrorReason.LIMIT_MISMATCH


class UpgradeConflict(LockstreamError):
    """A writer or another upgrade is in the queue already, and each would wait for the other.

    The shared hold stands: release it and acquire exclusively.
    """

    reason = ErrorReason.UPGRADE_CONFLICT


class Wait(NamedTuple):
    """One owner of a session that waits for a lock."""

    session_id: str
    owner: str
    name: str


class Deadlock(LockstreamError):
    """Waiting would have closed a cycle of owners who wait for each other; the place in the queue is given up.

    Release what the owner holds before it tries again.
    """

    reason = ErrorReason.DEADLOCK
    retryable = True

    @property
    def cycle(self) -> tuple[Wait, ...]:
        """The waits, each for a lock that the next one's owner has. Empty when the server did not tell."""
        try:
            waits = json.loads(self.metadata.get("cycle", "[]"))
            return tuple(Wait(wait["session"], wait["owner"], wait["name"]) for wait in waits)
        except (ValueError, TypeError, KeyError):
            return ()


class HistoryCompacted(LockstreamError):
    """The history from the stated revision on has been compacted away in etcd: begin with a new snapshot."""

    reason = ErrorReason.HISTORY_COMPACTED
