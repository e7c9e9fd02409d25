"""Electing a leader: a lock whose holder leads, with a value that says who that is."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from lockstream._context import LockContext
from lockstream._views import EntryState
from lockstream._watch import ChangeKind, LocksSnapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from lockstream._lock import Lock
    from lockstream._reads import Reads
    from lockstream._session import Session
    from lockstream._views import EntryView
    from lockstream._watch import LockChanges, LockWatch

ENDS = (ChangeKind.RELEASED, ChangeKind.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who leads, and what it proclaimed last."""

    session_id: str
    token: int
    """The fencing token: it grows from leader to leader, and stays while one leads."""
    value: bytes
    metadata: Mapping[str, str]


class Leadership:
    """What a leader has while it leads. Made by `Election.campaign`."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        """The lock that makes it the leader: `lock.lost`, `lock.check()`."""

    @property
    def token(self) -> int:
        """The fencing token. Whatever the leader acts on is to refuse anything older."""
        return self.lock.token

    async def proclaim(self, value: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Change the value that others see, and its labels, without a new election; see `Lock.set_value`."""
        await self.lock.set_value(value, metadata)

    def __repr__(self) -> str:
        return f"<Leadership {self.lock!r}>"


class Election:
    """An election, by the name of its lock. Made by `Client.election`.

    election = client.election("scheduler")
    async with election.campaign(b"10.0.0.7:8080") as leadership:
        await schedule(fencing_token=leadership.token)
    """

    def __init__(
        self,
        name: str,
        session: Callable[[], Awaitable[Session]],
        reads: Reads,
        watch: Callable[[], LockWatch],
    ) -> None:
        self.name = name
        self._session = session
        self._reads = reads
        self._watch = watch

    @asynccontextmanager
    async def campaign(
        self,
        value: bytes = b"",
        *,
        metadata: Mapping[str, str] | None = None,
        wait: float | None = None,
        lock_delay: float | None = None,
        cancel_on_loss: bool = True,
    ) -> AsyncIterator[Leadership]:
        """Wait for the lead, and lead while the body runs; leaving it resigns.

        When the lead is lost the body is cancelled and LockLost raised in its place, as by `Session.lock`.

        Args:
            value: what others are to know of this leader, such as its address; at most 4096 bytes.
            metadata: labels beside it.
            wait: None waits for as long as it takes, 0 does not wait at all, else seconds.
            lock_delay: for how many seconds nobody leads after this leader was lost (not after it resigned).
            cancel_on_loss: False lets the body go on without the lead; LockLost is raised at its end.

        Raises as `Session.acquire`.
        """
        context = LockContext(
            self._session,
            self.name,
            {"value": value, "metadata": metadata, "wait": wait, "lock_delay": lock_delay},
            cancel_on_loss=cancel_on_loss,
        )
        async with context as lock:
            yield Leadership(lock)

    async def leader(self) -> Leader | None:
        """Who leads by etcd's newest state, or None."""
        holders = (await self._reads.get_lock(self.name, linearizable=True)).holders
        return _leader(holders[0]) if holders else None

    def observe(self) -> LeaderWatch:
        """Watch who leads: first who does now, then every change. See `LeaderWatch`."""
        return LeaderWatch(self._watch())


class LeaderWatch:
    """Tells who leads: first the leader of now, or None when nobody leads, then every change, none left out.

        async with election.observe() as leaders:
            async for leader in leaders:
                ...

    A change is another leader, none, or another value or metadata of the same. Like `LockWatch` it goes on over broken
    connections; only what etcd has compacted away before this could come back is left out. It ends with `close`, the
    end of `async with`, or the end of the client.
    """

    def __init__(self, watch: LockWatch) -> None:
        self._watch = watch
        self._holders: dict[int, Leader] = {}
        self._told: tuple[Leader | None] | None = None

    async def close(self) -> None:
        """End it: whoever awaits it sees the end at once."""
        await self._watch.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Leader | None:
        """Who leads next. Cancelling it loses nothing."""
        async for told in self._watch:
            self._apply(told)
            # One revision can hold an end and the grant that follows from it: nobody ever saw what is between.
            leader = next(iter(self._holders.values()), None)
            if self._told != (leader,):
                self._told = (leader,)
                return leader
        raise StopAsyncIteration

    def _apply(self, told: LocksSnapshot | LockChanges) -> None:
        if isinstance(told, LocksSnapshot):
            entries = (entry for lock in told.locks for entry in lock.holders)
            self._holders = {entry.token: _leader(entry) for entry in entries}
            return
        for change in told.changes:
            if change.kind in ENDS or change.entry.state is EntryState.DELAY:
                self._holders.pop(change.entry.token, None)
            elif change.entry.state is EntryState.HELD:
                self._holders[change.entry.token] = _leader(change.entry)


def _leader(entry: EntryView) -> Leader:
    return Leader(session_id=entry.session_id, token=entry.token, value=entry.value, metadata=entry.metadata)
