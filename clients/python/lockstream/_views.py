"""What the reads of a client return: plain values, taken at one revision of etcd."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lockstream._ledger import seconds
from lockstream.v1 import lock_pb2, service_pb2, session_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf import timestamp_pb2


class EntryState(enum.Enum):
    """Where an entry stands in the queue of its lock."""

    WAITING = 1
    HELD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryView:
    """One acquire in the queue of a lock.

    A foreign one, such as `etcdctl lock`, has an empty `session_id`.
    """

    session_id: str
    acquire_id: int
    owner: str
    shared: bool
    state: EntryState
    token: int
    position: int
    """Place among the waiters, from 1. 0 when held."""
    queued_at: datetime | None
    granted_at: datetime | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """One lock that a session holds or awaits."""

    acquire_id: int
    name: str
    shared: bool
    owner: str
    state: EntryState
    token: int
    position: int


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
    return LockView(name=lock.name, entries=tuple(map(_entry_view, lock.entries)), revision=revision)


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


def _entry_view(entry: lock_pb2.Entry) -> EntryView:
    return EntryView(
        session_id=entry.session_id,
        acquire_id=entry.acquire_id,
        owner=entry.owner,
        shared=entry.mode == lock_pb2.MODE_SHARED,
        state=EntryState(entry.state),
        token=entry.token,
        position=entry.position,
        queued_at=_moment(entry.queued_at) if entry.HasField("queued_at") else None,
        granted_at=_moment(entry.granted_at) if entry.HasField("granted_at") else None,
    )


def _claim_view(claim: session_pb2.Claim) -> ClaimView:
    return ClaimView(
        acquire_id=claim.acquire_id,
        name=claim.name,
        shared=claim.mode == lock_pb2.MODE_SHARED,
        owner=claim.owner,
        state=EntryState(claim.state),
        token=claim.token,
        position=claim.position,
    )


def _moment(timestamp: timestamp_pb2.Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
