"""Keeping the lease of a session that waits to be taken up."""

import asyncio
from functools import partial
from typing import Self

from lockstream._clock import Clock
from lockstream_server.core.model import session_text
from lockstream_server.core.session import LeaseProof
from lockstream_server.sessions.session import RENEWALS_PER_TTL
from lockstream_server.store.port import Store


class Keeping:
    """Renews a lease from `begin` to the end of the block, as a session does that is attached.

    A server that comes back has thousands of sessions to take up. The leases of those whose turn comes late must not
    end meanwhile; and what was renewed for that need not be renewed again, behind everybody else's renewals.
    """

    def __init__(self, store: Store, lease: int) -> None:
        self.clock = Clock(asyncio.get_running_loop())
        """By which the proof goes."""
        self._store = store
        self._lease = lease
        self._proof: LeaseProof | None = None
        self._ended = False
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once it is known whether the lease lives."""
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"Keeping({session_text(self._lease)}, {self._answered!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._answered.cancel()
        self._proof = None  # from now on it is the session's, which takes no answer that comes too late
        if self._timer is not None:
            self._timer.cancel()

    def begin(self, ttl: float) -> None:
        """Renew the lease from now on, whose TTL is that many seconds. Does nothing the second time."""
        if self._proof is None:
            self._proof = LeaseProof(ttl, float("-inf"))
            self._renew(ttl)

    async def proof(self) -> LeaseProof | None:
        """For how long the lease is proven, once anything is known of it; None if it has ended."""
        await self._answered
        return None if self._ended else self._proof

    def _renew(self, ttl: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(ttl / RENEWALS_PER_TTL, self._renew, ttl)
        self._store.renew_lease(self._lease, partial(self._renewed, self.clock.time()))

    def _renewed(self, sent_at: float, alive: bool) -> None:
        if self._proof is None:
            return
        if alive:
            self._proof.renewed(sent_at)
        else:
            self._ended = True
        if not self._answered.done():
            self._answered.set_result(None)
