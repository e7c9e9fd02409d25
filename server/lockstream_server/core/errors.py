"""Everything that can go wrong with a request, as values a program can act on."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Reason(Enum):
    """Why a request failed; `ErrorReason` in errors.proto explains each to users, by the same name."""

    INVALID_ARGUMENT = "invalid argument"
    WRONG_STATE = "wrong state"
    WOULD_BLOCK = "would block"
    WAIT_TIMEOUT = "wait timeout"
    CANCELLED = "cancelled"
    NOT_HELD = "not held"
    STALE_TOKEN = "stale token"  # noqa: S105 - a reason, no password
    ALREADY_HELD = "already held"
    ACQUIRE_ID_REUSED = "acquire id reused"
    SESSION_EXPIRED = "session expired"
    SUPERSEDED = "superseded"
    BAD_RESUME_TOKEN = "bad resume token"  # noqa: S105 - a reason, no password
    QUOTA_EXCEEDED = "quota exceeded"
    SLOW_CONSUMER = "slow consumer"
    STORE_UNAVAILABLE = "store unavailable"
    DRAINING = "draining"
    NOT_FOUND = "not found"
    INTERNAL = "internal"
    REMOVED_EXTERNALLY = "removed externally"
    LIMIT_MISMATCH = "limit mismatch"
    UPGRADE_CONFLICT = "upgrade conflict"
    DEADLOCK = "deadlock"
    HISTORY_COMPACTED = "history compacted"


class Nature(NamedTuple):
    """What a caller may conclude from a reason."""

    retryable: bool
    """The same request may succeed later without the caller changing anything else."""
    outcome_settled: bool
    """The request certainly has not taken effect and will not."""


NATURES: Mapping[Reason, Nature] = {
    Reason.INVALID_ARGUMENT: Nature(retryable=False, outcome_settled=True),
    Reason.WRONG_STATE: Nature(retryable=False, outcome_settled=True),
    Reason.WOULD_BLOCK: Nature(retryable=True, outcome_settled=True),
    Reason.WAIT_TIMEOUT: Nature(retryable=True, outcome_settled=True),
    Reason.CANCELLED: Nature(retryable=True, outcome_settled=True),
    Reason.NOT_HELD: Nature(retryable=False, outcome_settled=True),
    Reason.STALE_TOKEN: Nature(retryable=False, outcome_settled=True),
    Reason.ALREADY_HELD: Nature(retryable=False, outcome_settled=True),
    Reason.ACQUIRE_ID_REUSED: Nature(retryable=False, outcome_settled=True),
    Reason.SESSION_EXPIRED: Nature(retryable=False, outcome_settled=True),
    Reason.SUPERSEDED: Nature(retryable=False, outcome_settled=True),
    Reason.BAD_RESUME_TOKEN: Nature(retryable=False, outcome_settled=True),
    Reason.QUOTA_EXCEEDED: Nature(retryable=True, outcome_settled=True),
    Reason.SLOW_CONSUMER: Nature(retryable=True, outcome_settled=False),
    Reason.STORE_UNAVAILABLE: Nature(retryable=True, outcome_settled=False),
    Reason.DRAINING: Nature(retryable=True, outcome_settled=True),
    Reason.NOT_FOUND: Nature(retryable=False, outcome_settled=True),
    Reason.INTERNAL: Nature(retryable=False, outcome_settled=False),
    Reason.REMOVED_EXTERNALLY: Nature(retryable=True, outcome_settled=True),
    Reason.LIMIT_MISMATCH: Nature(retryable=False, outcome_settled=True),
    Reason.UPGRADE_CONFLICT: Nature(retryable=False, outcome_settled=True),
    Reason.DEADLOCK: Nature(retryable=True, outcome_settled=True),
    Reason.HISTORY_COMPACTED: Nature(retryable=False, outcome_settled=True),
}


class LockError(Exception):
    """A request that fails, with everything its caller is to be told.

    `detail` is a sentence for people. `field` names the request's field at fault, for INVALID_ARGUMENT.
    `metadata` is for programs, such as the bound that QUOTA_EXCEEDED would pass.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field
        self.metadata = metadata or {}

    @property
    def nature(self) -> Nature:
        """Whether to retry, and whether the outcome is settled."""
        return NATURES[self.reason]

    def __repr__(self) -> str:
        return f"LockError({self.reason.name}, {self.detail!r})"


def invalid(field: str, detail: str) -> LockError:
    """An INVALID_ARGUMENT that names the field at fault."""
    return LockError(Reason.INVALID_ARGUMENT, f"{field}: {detail}", field=field)


def quota_exceeded(limit: str, maximum: float, current: float, detail: str) -> LockError:
    """A QUOTA_EXCEEDED that names the bound, its value and the figure it has now."""
    metadata = {"limit": limit, "maximum": f"{maximum:g}", "current": f"{current:g}"}
    return LockError(Reason.QUOTA_EXCEEDED, f"{detail} ({limit} is {maximum:g}, now {current:g})", metadata=metadata)
