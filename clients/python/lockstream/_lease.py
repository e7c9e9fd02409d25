"""The lease under which a session's locks are held: what is known of it, its beginning and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from lockstream._errors import LockstreamError
    from lockstream._keeper import Keeper


class Lease:
    """What a session is but for its locks."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._ledger = keeper.ledger

    @property
    def id(self) -> str:
        """The session's name in the service: 16 hexadecimal digits. Empty before it is open."""
        return self._ledger.session_id

    @property
    def ttl(self) -> float:
        """The granted TTL in seconds."""
        return self._ledger.ttl

    @property
    def grace(self) -> float:
        """How many seconds the session is kept when its stream breaks."""
        return self._ledger.grace

    @property
    def server(self) -> str:
        """The server it was attached to last, as that calls itself."""
        return self._ledger.server

    @property
    def generation(self) -> int:
        """How often it was attached, from 1."""
        return self._ledger.generation

    @property
    def attached(self) -> bool:
        """Whether a stream speaks for the session at the moment.

        Detached, it still has its locks.
        """
        return self._ledger.link is not None

    @property
    def in_jeopardy(self) -> bool:
        """Whether the server said that it cannot prove the lease at the moment."""
        return self._ledger.in_jeopardy

    @property
    def ended(self) -> LockstreamError | None:
        """What ended the session, or None while it lives."""
        return self._ledger.ended

    @property
    def remaining(self) -> float:
        """For how many seconds from now the lease is proven.

        Not more than zero: nothing is held. For any thread.
        """
        if self._ledger.ended is not None:
            return 0.0
        return self._ledger.deadline - self._keeper.clock.time()

    async def open(self) -> None:
        """Open the session at one of the endpoints, within the connect timeout.

        `async with` does this. Raises what the last attempt raised, such as ServerUnavailable.
        """
        await self._keeper.open()

    async def close(self) -> None:
        """End the session: every lock and queue place is free on return.

        When no server can do that within 3 seconds, which is logged, they are free after the grace, or two TTLs if the
        session's server is lost. It goes on when whoever waits for it is cancelled. A second close is WrongState.
        """
        await self._keeper.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._keeper.end()

    def __repr__(self) -> str:
        return f"<Session {self._ledger!r} server={self.server!r}>"
