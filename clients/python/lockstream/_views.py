"""What the reads of a client return: plain values, taken at one revision of etcd."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from lockstream._durations import seconds
from lockstream.v1 import lock_pb2, service_pb2, session_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf import timestamp_pb2


class OpenEnum(enum.Enum):
    """What a server tells by a number of the protocol. One that only a newer server knows is UNKNOWN, which is 0."""

    @classmethod
    def _missing_(cls, _value: object) -> Self:
        return cls(0)


class EntryState(OpenEnum):
    """Where an entry stands in the queue of its lock."""

    UNKNOWN = 0
    """As only a newer server could say."""
    WAITING = 1
    HELD = 2
    DELAY = 3
    """Granted, but the session is over: nobody holds the lock, and it stays taken for a while."""


class Mode(OpenEnum):
    """Beside which other entries of the name an entry may be granted."""

    UNKNOWN = 0
    """As only a newer server could say."""
    EXCLUSIVE = 1
    SHARED = 2
    PERMITS = 3
    """Some of the permits that the name has."""
    UPGRADE = 4
    """A shared hold that is to become, or became, exclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryView:
    """One acquire in the queue of a lock. Durations are in seconds.

    A foreign one, such as `etcdctl lock`, has an empty `session_id`.
    """

    session_id: str
    acquire_id: int
    owner: str
    mode: Mode
    state: EntryState
    token: int
    position: int
    """Place among the waiters, from 1. 0 when held."""
    queued_at: datetime | None
    granted_at: datetime | None
    permits: int
    """How many permits it takes; 0 for another mode."""
    limit: int
    """How many permits the name has; 0 for another mode."""
    value: bytes
    metadata: Mapping[str, str]
    estimated_wait: float | None
    """About how long it still has to wait, judged by recent holds. None when held, or when nothing is known."""
    max_hold: float | None
    """How long the hold may last; None for ever."""
    lock_delay: float | None
    """How long the name stays taken when the session is lost; None not at all."""
    asks_yield: bool
    """Whether this waiter asked the holders to yield."""

    @property
    def shared(self) -> bool:
        """Whether other shared holders may hold the lock beside it."""
        return self.mode is Mode.SHARED


@dataclass(frozen=True, slots=True, kw_only=True)
class LockView:
    """One lock: holders first, then waiters in the order of their turn.

    Free when it has no entries.
    """

    name: str
    entries: tuple[EntryView, ...]
    revision: int

    @property
    def holders(self) -> tuple[EntryView, ...]:
        """Who holds it."""
        return tuple(entry for entry in self.entries if entry.state is EntryState.HELD)

    @property
    def waiters(self) -> tuple[EntryView, ...]:
        """Who waits for it."""
        return tuple(entry for entry in self.entries if entry.state is EntryState.WAITING)

    @property
    def delayed(self) -> bool:
        """Whether it stays taken for a while although the session that held it is over."""
        return any(entry.state is EntryState.DELAY for entry in self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """How a fencing token of a lock stood at one revision. See `Client.inspect_token`."""

    held: bool
    """Whether the token held the lock."""
    highest_token: int
    """The highest token of the lock that the answering server knows to have been granted; 0 when it knows none.

    Another server may have granted a higher one within the last moment; whatever is granted after `revision` has a
    higher one than `revision`.
    """
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionView:
    """The record of a hold, or a session, that was ended by somebody else than its client."""

    name: str
    """The lock. Empty for the record of a session, which stands for all that it held."""
    session_id: str
    acquire_id: int
    """The acquire that was evicted; 0 for a session."""
    token: int
    """The fencing token that counts no longer; 0 for a session."""
    reason: str
    """Why, in the words of whoever did it."""
    actor: str
    """Who said to have done it; the server for a hold that lasted too long."""
    evicted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """One acquire of a session, which holds or waits."""

    acquire_id: int
    name: str
    names: tuple[str, ...]
    """Every name of it; one unless several were asked for at once."""
    mode: Mode
    owner: str
    state: EntryState
    token: int
    position: int

    @property
    def shared(self) -> bool:
        """Whether other shared holders may hold the lock beside it."""
        return self.mode is Mode.SHARED


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """One live session. Durations are in seconds."""

    session_id: str
    client_name: str
    metadata: Mapping[str, str]
    ttl: float
    grace: float
    server: str
    generation: int
    opened_at: datetime | None
    claims: tuple[ClaimView, ...]
    revision: int


def lock_view(lock: lock_pb2.Lock, revision: int) -> LockView:
    """A lock as a value."""
    return LockView(name=lock.name, entries=tuple(map(entry_view, lock.entries)), revision=revision)


def session_view(session: service_pb2.Session, revision: int) -> SessionView:
    """A session as a value."""
    return SessionView(
        session_id=session.session_id,
        client_name=session.client_name,
        metadata=dict(session.metadata),
        ttl=seconds(session.ttl),
        grace=seconds(session.detach_grace),
        server=session.server,
        generation=session.generation,
        opened_at=_moment(session.opened_at) if session.HasField("opened_at") else None,
        claims=tuple(map(_claim_view, session.claims)),
        revision=revision,
    )


def entry_view(entry: lock_pb2.Entry) -> EntryView:
    """An entry as a value."""
    return EntryView(
        session_id=entry.session_id,
        acquire_id=entry.acquire_id,
        owner=entry.owner,
        mode=Mode(entry.mode),
        state=EntryState(entry.state),
        token=entry.token,
        position=entry.position,
        queued_at=_moment(entry.queued_at) if entry.HasField("queued_at") else None,
        granted_at=_moment(entry.granted_at) if entry.HasField("granted_at") else None,
        permits=entry.permits,
        limit=entry.limit,
        value=entry.value,
        metadata=dict(entry.metadata),
        estimated_wait=seconds(entry.estimated_wait) if entry.HasField("estimated_wait") else None,
        max_hold=seconds(entry.max_hold) if entry.HasField("max_hold") else None,
        lock_delay=seconds(entry.lock_delay) if entry.HasField("lock_delay") else None,
        asks_yield=entry.asks_yield,
    )


def eviction_view(eviction: lock_pb2.Eviction) -> EvictionView:
    """The record of an eviction as a value."""
    return EvictionView(
        name=eviction.name,
        session_id=eviction.session_id,
        acquire_id=eviction.acquire_id,
        token=eviction.token,
        reason=eviction.reason,
        actor=eviction.actor,
        evicted_at=_moment(eviction.evicted_at) if eviction.HasField("evicted_at") else None,
    )


def _claim_view(claim: session_pb2.Claim) -> ClaimView:
    return ClaimView(
        acquire_id=claim.acquire_id,
        name=claim.name,
        names=tuple(claim.names) or (claim.name,),
        mode=Mode(claim.mode),
        owner=claim.owner,
        state=EntryState(claim.state),
        token=claim.token,
        position=claim.position,
    )


def _moment(timestamp: timestamp_pb2.Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
