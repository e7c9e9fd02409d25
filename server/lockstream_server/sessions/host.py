"""What every session of a server shares."""

import heapq
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from lockstream_server.core.table import Table
from lockstream_server.sessions.orphans import Orphans
from lockstream_server.sessions.quotas import Clients, Quotas
from lockstream_server.sessions.record_leases import RecordLeases
from lockstream_server.sessions.witness import Witness
from lockstream_server.store.port import Store
from lockstream_server.telemetry import Counters

Background = Callable[[Coroutine[Any, Any, None]], None]
"""Runs the few steps that have to wait for the store."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Every bound on sessions, with its unit. Overflow is QUOTA_EXCEEDED unless stated otherwise."""

    sessions: int = 10_000
    """Sessions attached to or kept by this server."""
    entries_per_session: int = 1_000
    """Acquires that hold or wait."""
    waiters_per_lock: int = 10_000
    """Entries of one name."""
    outbox_events: int = 1_024
    """Events a stream has not taken yet; overflow ends the stream with SLOW_CONSUMER."""
    observers: int = 1_000
    """Streams that watch locks at this server."""
    observer_changes: int = 4_096
    """Changes that such a stream has not taken yet; overflow ends it with SLOW_CONSUMER."""
    observer_timeout: float = 10.0
    """Seconds which it may take over a message while it is told of the past; then it ends with SLOW_CONSUMER."""
    default_ttl: float = 10.0
    """Seconds; for a client that states none."""
    min_ttl: float = 2.0
    """Seconds; less is raised to it."""
    max_ttl: float = 600.0
    """Seconds; more is INVALID_ARGUMENT."""
    store_timeout: float = 3.0
    """Seconds which an open, a resume or a close waits for the store; then it is STORE_UNAVAILABLE."""


class Milestones:
    """Callbacks for when the table has folded a revision."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def when_folded(self, revision: int, call: Callable[[], None]) -> None:
        """Call as soon as the table has reached the revision; at once if it has.

        The table hears only of revisions which changed something under our prefix; for another one this waits until the
        next that does.
        """
        if self._table.revision >= revision:
            call()
        else:
            heapq.heappush(self._waiting, (revision, next(self._order), call))

    def reached(self) -> None:
        """The table has moved on."""
        while self._waiting and self._waiting[0][0] <= self._table.revision:
            heapq.heappop(self._waiting)[2]()


@dataclass(slots=True)
class Host:
    """The server, as its sessions see it."""

    name: str
    """What the server calls itself in session records."""
    store: Store
    table: Table
    bounds: Bounds
    wall_clock: Callable[[], float]
    """Seconds since the epoch, for times that people read."""
    counters: Counters = field(default_factory=Counters)
    quotas: Quotas = field(default_factory=Quotas)
    witness: Witness = field(default_factory=Witness)
    milestones: Milestones = field(init=False)
    clients: Clients = field(init=False)
    record_leases: RecordLeases = field(init=False)
    orphans: Orphans = field(init=False)

    def __post_init__(self) -> None:
        self.milestones = Milestones(self.table)
        self.clients = Clients(self.table, self.quotas)
        self.record_leases = RecordLeases(self.store)
        self.orphans = Orphans(self.store, self.table)
