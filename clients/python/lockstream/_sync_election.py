"""Electing a leader, for programs without asyncio."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lockstream._sync_watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Protocol

    from lockstream import _election
    from lockstream._portal import Portal
    from lockstream.sync import Lock

    class Locks(Protocol):
        """What `lock` of a session or of a client is."""

        def __call__(
            self,
            name: str,
            *,
            value: bytes,
            metadata: Mapping[str, str] | None,
            wait: float | None,
            lock_delay: float | None,
        ) -> AbstractContextManager[Lock]:
            """Hold a lock while the body runs."""


class Leadership:
    """What a leader has while it leads. Made by `Election.campaign`."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        """The lock that makes it the leader: `lock.lost`, `lock.check()`."""

    @property
    def token(self) -> int:
        """The fencing token. Whatever the leader acts on is to refuse anything older."""
        return self.lock.token

    def proclaim(self, value: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Change the value that others see, without a new election."""
        self.lock.set_value(value, metadata)

    def __repr__(self) -> str:
        return f"<Leadership {self.lock!r}>"


class Election:
    """As `lockstream.Election`, blocking. Made by `Client.election`."""

    def __init__(self, portal: Portal, election: _election.Election, lock: Locks) -> None:
        self._portal = portal
        self._election = election
        self._lock = lock

    @property
    def name(self) -> str:
        """The name of its lock."""
        return self._election.name

    @contextmanager
    def campaign(
        self,
        value: bytes = b"",
        *,
        metadata: Mapping[str, str] | None = None,
        wait: float | None = None,
        lock_delay: float | None = None,
    ) -> Iterator[Leadership]:
        """Wait for the lead, and lead while the body runs; leaving it resigns.

        A body is not cancelled when the lead is lost: look at `leadership.lock.lost`, or call its `check`. LockLost is
        raised at the latest at the body's end. The arguments are those of `lockstream.Election.campaign`.
        """
        with self._lock(self.name, value=value, metadata=metadata, wait=wait, lock_delay=lock_delay) as lock:
            yield Leadership(lock)

    def leader(self) -> _election.Leader | None:
        """Who leads by etcd's newest state, or None."""
        return self._portal.call(self._election.leader)

    def observe(self) -> Watch[_election.Leader | None]:
        """Watch who leads: first who does now, then every change; see `lockstream.LeaderWatch`."""

        async def begin() -> _election.LeaderWatch:
            return self._election.observe()

        return Watch(self._portal, self._portal.call(begin))
