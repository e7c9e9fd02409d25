"""What a client and its session say to each other, free of any encoding. session.proto explains each to users."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from lockstream_server.core.errors import LockError
from lockstream_server.core.model import PLAIN, Mode, Terms

NO_WAIT = 0.0
"""The wait of an acquire that does not wait. Clients cannot say zero by accident: it is refused as a timeout."""


class LossReason(Enum):
    """Why a session no longer has a lock that it held; by the same names in errors.proto."""

    LEASE_EXPIRED = "lease expired"
    REMOVED_EXTERNALLY = "removed externally"
    UNPROVEN = "unproven"
    SUPERSEDED = "superseded"
    FORCE_RELEASED = "force released"
    MAX_HOLD_EXCEEDED = "max hold exceeded"


# Requests.


class Open(NamedTuple):
    """Begin a session."""

    client_name: str
    metadata: Mapping[str, str]
    ttl: float | None
    """Seconds; None for the server's default."""
    grace: float | None
    """Seconds; None for the TTL."""
    heartbeats: bool


class Resume(NamedTuple):
    """Take up a session."""

    session: int
    token: str


class Heartbeat(NamedTuple):
    """Show that the client is alive, ask for the proof."""


class Close(NamedTuple):
    """End the session."""


class Acquire(NamedTuple):
    """Ask for a lock."""

    acquire: int
    name: str
    mode: Mode
    owner: str
    wait: float | None
    """Seconds; None for ever, NO_WAIT for not at all."""
    terms: Terms = PLAIN


class AcquirePart(NamedTuple):
    """One of several locks."""

    name: str
    mode: Mode
    terms: Terms


class AcquireAll(NamedTuple):
    """Ask for several locks at once."""

    acquire: int
    parts: Sequence[AcquirePart]
    owner: str
    wait: float | None


class Upgrade(NamedTuple):
    """Ask for a shared hold to become exclusive."""

    acquire: int
    shared: int
    """The acquire that holds."""
    token: int
    """Its fencing token."""
    wait: float | None


class Downgrade(NamedTuple):
    """Make an exclusive hold shared."""

    acquire: int
    token: int


class SetValue(NamedTuple):
    """Change what a hold says of itself."""

    acquire: int
    token: int
    value: bytes
    metadata: Mapping[str, str]


class RequestYield(NamedTuple):
    """Ask those who hold what an acquire waits for to yield."""

    acquire: int


class Release(NamedTuple):
    """Give up a lock."""

    acquire: int
    token: int


class Cancel(NamedTuple):
    """Withdraw an acquire, whatever became of it."""

    acquire: int


Request = (
    Open
    | Resume
    | Heartbeat
    | Close
    | Acquire
    | AcquireAll
    | Upgrade
    | Downgrade
    | SetValue
    | RequestYield
    | Release
    | Cancel
)


# What is said of a session's locks.


class Claim(NamedTuple):
    """One acquire of a session, as it stands."""

    acquire: int
    name: str
    mode: Mode
    owner: str
    held: bool
    token: int
    position: int
    """Among the waiters, from 1; 0 when held."""
    names: Sequence[str] = ()
    """All of them, when there are several."""


class Attached(NamedTuple):
    """The session is attached to this stream."""

    session: int
    resume_token: str
    """Empty after a resume."""
    ttl: int
    grace: float
    remaining: float
    """Seconds for which the lease is proven."""
    claims: Sequence[Claim]
    server: str
    generation: int
    evicted: Sequence["Lost"] = ()
    """What others ended of it in the last hour."""


class Proof(NamedTuple):
    """How long the lease is proven."""

    remaining: float
    """Seconds."""


class Closed(NamedTuple):
    """The session is closed and everything it had is free."""


class Granted(NamedTuple):
    """The lock is held."""

    acquire: int
    token: int


class Queued(NamedTuple):
    """The acquire waits."""

    acquire: int
    position: int


class Released(NamedTuple):
    """The lock is released."""


class Cancelled(NamedTuple):
    """The acquire is withdrawn."""

    was_granted: bool


class Downgraded(NamedTuple):
    """The hold is shared now."""


class ValueSet(NamedTuple):
    """The value stands in the store."""


class YieldAsked(NamedTuple):
    """The wish stands in the store."""


Outcome = (
    Attached | Proof | Closed | Granted | Queued | Released | Cancelled | Downgraded | ValueSet | YieldAsked | LockError
)


class WaitEnded(NamedTuple):
    """A queued acquire ended without a grant."""

    acquire: int
    error: LockError


class Lost(NamedTuple):
    """A lock is held no longer, and not because the client released it."""

    acquire: int
    name: str
    token: int
    reason: LossReason
    detail: str = ""
    """What whoever took it away said."""
    actor: str = ""
    """Who took it away."""


class PositionChanged(NamedTuple):
    """A waiter moved up."""

    acquire: int
    position: int


class YieldRequested(NamedTuple):
    """The holder is asked to give the lock up."""

    acquire: int
    name: str
    token: int
    remaining: float | None
    """Seconds until the hold is evicted; None when a waiter asks."""


class Jeopardy(NamedTuple):
    """No proof of the lease for half its TTL."""

    remaining: float


class Safe(NamedTuple):
    """The lease is proven again."""

    remaining: float


class Draining(NamedTuple):
    """The server is about to stop."""

    until: float
    """Seconds since the epoch."""


class SessionEnded(NamedTuple):
    """The last event of a stream that speaks for its session no longer."""

    error: LockError


Happening = Granted | WaitEnded | Lost | PositionChanged | YieldRequested | Jeopardy | Safe | Draining | SessionEnded


class Reply(NamedTuple):
    """The one reply to a request."""

    request_id: int
    outcome: Outcome


class Event(NamedTuple):
    """Something that happened; `sequence` counts from 1 without gaps."""

    sequence: int
    happening: Happening


Message = Reply | Event
