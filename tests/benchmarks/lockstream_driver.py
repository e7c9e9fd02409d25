"""The drivers of systems `lockstream` and `lockstream-shared`: the Python client library.

A client opens all its sessions on one gRPC channel, so workers share a channel as those of the other systems do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self

import lockstream
from tests.benchmarks.etcd_leases import LEASE_SECONDS

# Many sessions that are opened at once wait for each other, on a small machine for seconds.
_CONNECT_TIMEOUT_SECONDS = 30.0


Acquire = Callable[[lockstream.Session, str, str], Awaitable[lockstream.Lock]]
"""How a session acquires a name for an owner."""

NAMES_AT_ONCE = 10
PERMITS = 64


async def exclusively(session: lockstream.Session, name: str, owner: str) -> lockstream.Lock:
    """Alone."""
    return await session.acquire(name, owner=owner)


async def ten_at_once(session: lockstream.Session, name: str, owner: str) -> lockstream.Lock:
    """Ten names alone, all at once."""
    return await session.acquire_all([f"{name}/{number}" for number in range(NAMES_AT_ONCE)], owner=owner)


async def as_permit(session: lockstream.Session, name: str, owner: str) -> lockstream.Lock:
    """One of many permits."""
    return await session.acquire(name, owner=owner, permits=1, limit=PERMITS)


async def as_reader(session: lockstream.Session, name: str, owner: str) -> lockstream.Lock:
    """Together with other readers."""
    return await session.acquire(name, owner=owner, shared=True)


WAYS: Mapping[str, Acquire] = {
    "pairs_ten_names": ten_at_once,
    "pairs_permits": as_permit,
    "pairs_readers": as_reader,
}
"""How the workers of a bench acquire, where that is not alone."""


class LockstreamWorker:
    """A worker with a session of its own, or an owner among others in a shared one."""

    _held: lockstream.Lock

    def __init__(self, session: lockstream.Session, owner: str, acquire: Acquire) -> None:
        self._session = session
        self._owner = owner
        self._acquire = acquire

    async def acquire(self, name: str) -> None:
        """Acquire `name`, waiting for as long as it takes."""
        self._held = await self._acquire(self._session, name, self._owner)

    async def release(self) -> None:
        """Release it."""
        await self._held.release()


class LockstreamDriver:
    """Workers on one client, with a session each or, if `shared`, with one for all of them."""

    def __init__(self, client: lockstream.Client, acquire: Acquire, *, shared: bool) -> None:
        self._client = client
        self._acquire = acquire
        self._shared = shared

    @classmethod
    @asynccontextmanager
    async def at(cls, target: str, *, shared: bool, bench: str) -> AsyncIterator[Self]:
        """Connect to the server at `target`, for workers that acquire as the bench wants it.

        Renewing is no part of what is measured, as with the leases of the other systems; and a session whose process
        is gone is gone as well.
        """
        async with lockstream.connect(
            target, ttl=LEASE_SECONDS, grace=0, connect_timeout=_CONNECT_TIMEOUT_SECONDS
        ) as client:
            yield cls(client, WAYS.get(bench, exclusively), shared=shared)

    async def open_workers(self, count: int) -> Sequence[LockstreamWorker]:
        """Open the sessions of so many workers."""
        sessions = [self._client.session() for _ in range(1 if self._shared else count)]
        await asyncio.gather(*(session.open() for session in sessions))
        return [
            LockstreamWorker(sessions[number % len(sessions)], f"worker-{number}", self._acquire)
            for number in range(count)
        ]

    def queue_prefix(self, name: str) -> str:
        """The keys of entries, below the server's default prefix; none of the names needs escaping."""
        return f"/lockstream/l/{name}/"

    async def close(self) -> None:
        """Close the client, and with it the sessions, which frees their locks."""
        await self._client.close()
