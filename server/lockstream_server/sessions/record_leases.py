"""The leases under which etcd keeps the records of evictions."""

import asyncio
from collections import deque
from contextlib import suppress

from lockstream_server.core.errors import LockError
from lockstream_server.store.port import Store

RECORD_SECONDS = 3_600
"""For how long the record of an eviction is kept at least, unless there are too many newer ones."""
SHARING_SECONDS = 300
"""For how long evictions share a lease."""
LEASE_SECONDS = RECORD_SECONDS + SHARING_SECONDS
"""What each lease is granted for."""
RECORDS_PER_LEASE = 1_000
"""How many share one at the most: etcd ends a lease in one transaction over its keys."""
LEASES = 64
"""How many a server keeps; one more ends the oldest, and the records under it with it."""


class RecordLeases:
    """One lease for all evictions of a time, and only so many of them: what evictions leave behind is bounded."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leases: deque[int] = deque()
        """The newest last. Some of the oldest may have ended by themselves."""
        self._room = 0
        """How many more records may be under the newest."""
        self._shared_until = 0.0
        """By the event loop's clock."""
        self._failure: LockError | None = None
        self._granting = asyncio.Lock()
        self._revoking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"RecordLeases({len(self._leases)}, room for {self._room} in the newest)"

    async def take(self) -> int:
        """The lease for one more record. Raises LockError (STORE_UNAVAILABLE)."""
        before = self._failure
        async with self._granting:
            loop = asyncio.get_running_loop()
            if not self._room or loop.time() >= self._shared_until:
                if self._failure is not None and self._failure is not before:
                    raise self._failure  # one has asked for all who wait here
                await self._grant()
                self._shared_until = loop.time() + SHARING_SECONDS
            self._room -= 1
            return self._leases[-1]

    def ended(self, lease: int) -> None:
        """A lease has ended before its time: somebody revoked it, or this machine slept."""
        if self._leases and self._leases[-1] == lease:
            self._room = 0

    async def _grant(self) -> None:
        try:
            lease = await self._store.grant_lease(LEASE_SECONDS)
        except LockError as error:
            self._failure = error
            raise
        self._leases.append(lease.session)
        self._room = RECORDS_PER_LEASE
        if len(self._leases) > LEASES:
            # Apart, because everybody who evicts now waits for this lease, and nobody for the end of that one.
            revoking = asyncio.ensure_future(self._revoke(self._leases.popleft()))
            self._revoking.add(revoking)
            revoking.add_done_callback(self._revoking.discard)

    async def _revoke(self, lease: int) -> None:
        with suppress(LockError):  # it ends by itself within the hour
            await self._store.revoke_lease(lease)
