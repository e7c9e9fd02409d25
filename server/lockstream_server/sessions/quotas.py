"""What one client may have, so that no client takes from the others.

A client is who its sessions say it is: until there is authentication, the client name. Sessions, entries and waiters
are counted over the whole service, from the table; requests per second are those to this server.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lockstream_server.core.errors import LockError, quota_exceeded
from lockstream_server.core.table import LiveSession, Table


@dataclass(frozen=True, slots=True)
class Quotas:
    """Every quota, for each client; 0 is none. Overflow is QUOTA_EXCEEDED on the one request."""

    sessions: int = 0
    """Sessions that live."""
    entries: int = 0
    """Acquires that hold or wait."""
    waiters_per_lock: int = 0
    """Acquires that wait for one name."""
    requests_per_second: float = 0.0
    """Requests that ask for something, on all streams to one server; as many may come at once."""


class Bucket:
    """A token bucket: one second's worth of requests, filled steadily."""

    __slots__ = ("_at", "_level")

    def __init__(self, rate: float, now: float) -> None:
        self._level = max(rate, 1.0)
        self._at = now

    def take(self, rate: float, now: float) -> bool:
        """Take one request out, at the moment `now` in seconds. False if the bucket is empty."""
        capacity = max(rate, 1.0)
        self._level = min(self._level + (now - self._at) * rate, capacity)
        self._at = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


class Clients:
    """Who has what."""

    def __init__(self, table: Table, quotas: Quotas) -> None:
        self._table = table
        self._quotas = quotas
        self._sessions: dict[str, set[int]] = {}
        self._names: dict[int, str] = {}
        self._buckets: dict[str, Bucket] = {}
        self.limit_acquires = bool(quotas.entries or quotas.waiters_per_lock or quotas.requests_per_second)
        """Whether there is anything to ask before an acquire."""
        self.counts_entries = quotas.entries > 0
        """Whether there is a quota of entries."""

    def __repr__(self) -> str:
        counts = {name: len(sessions) for name, sessions in self._sessions.items()}
        return f"Clients({counts})"

    # What the fold shows.

    def attached(self, session: int, name: str) -> None:
        """A session of the client lives."""
        self._names[session] = name
        self._sessions.setdefault(name, set()).add(session)

    def ended(self, session: int) -> None:
        """A session lives no more."""
        name = self._names.pop(session, None)
        if name is None:
            return
        sessions = self._sessions[name]
        sessions.discard(session)
        if not sessions:
            del self._sessions[name]
            self._buckets.pop(name, None)

    # What a client asks.

    def check_open(self, name: str, opening: int) -> None:
        """Refuse a session too many, `opening` being those on their way. Raises LockError (QUOTA_EXCEEDED)."""
        most = self._quotas.sessions
        current = len(self._sessions.get(name, ())) + opening
        if most and current >= most:
            raise _exceeded("sessions_per_client", most, current, name)

    def check_acquire(self, name: str, locks: Sequence[str], unseen: int) -> None:
        """Refuse entries too many, `unseen` being those which the table does not show yet.

        Raises LockError (QUOTA_EXCEEDED).
        """
        most = self._quotas.entries
        if most:
            current = unseen + sum(len(live.entries) for live in self._live(name))
            if current + len(locks) > most:
                raise _exceeded("entries_per_client", most, current, name)
        most = self._quotas.waiters_per_lock
        if most:
            mine = self._sessions.get(name, set())
            for lock in locks:
                queue = self._table.locks.get(lock)
                waiting = queue.entries[queue.holding :] if queue is not None else []
                current = sum(entry.session in mine for entry in waiting)
                if current >= most:
                    raise _exceeded("waiters_per_lock_and_client", most, current, name)

    def check_rate(self, name: str, now: float) -> None:
        """Refuse a request too many, at the moment `now` in seconds. Raises LockError (QUOTA_EXCEEDED)."""
        rate = self._quotas.requests_per_second
        if not rate:
            return
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(rate, now)
        if not bucket.take(rate, now):
            raise _exceeded("requests_per_second", rate, rate, name)

    def _live(self, name: str) -> list[LiveSession]:
        sessions = self._table.sessions
        return [sessions[session] for session in self._sessions.get(name, ()) if session in sessions]


def _exceeded(limit: str, most: float, current: float, name: str) -> LockError:
    return quota_exceeded(limit, most, current, f"client {name!r} has all that it may have")
