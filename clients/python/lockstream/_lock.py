"""A lock that was granted, and the news of its loss."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lockstream._claims import Claim, ClaimState
from lockstream._errors import LockLost, NotHeld
from lockstream._reasons import LossReason

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from lockstream._ledger import Ledger
    from lockstream._session import Session


class Loss:
    """Whether a lock was lost, why, and a way to wait for it.

    Reading it is safe from any thread.
    """

    __slots__ = ("_claim", "_session", "_waiters")

    def __init__(self, session: Session, claim: Claim) -> None:
        self._session = session
        self._claim = claim
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def reason(self) -> LossReason | None:
        """Why the lock was lost, or None.

        Past the local deadline it counts as lost, noticed by others or not.
        """
        claim = self._claim
        if claim.loss is None and claim.state is ClaimState.HELD and self._session.remaining <= 0:
            return LossReason.UNPROVEN
        return claim.loss

    def is_set(self) -> bool:
        """Whether the lock was lost."""
        return self.reason is not None

    async def wait(self) -> LossReason | None:
        """Wait until the lock is lost, and tell why; or until it is released, which is None."""
        while (reason := self.reason) is None and self._claim.state is ClaimState.HELD:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)
        return reason

    def __await__(self) -> Generator[object, None, LossReason | None]:
        """As `wait`."""
        return self.wait().__await__()

    def wake(self) -> None:
        """The lock is lost or released: let whoever waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def __repr__(self) -> str:
        reason = self.reason
        return f"<Loss {'none' if reason is None else reason.name}>"


class Lock:
    """A granted lock. It is held until `release`, or until it is lost."""

    __slots__ = ("_claim", "_ledger", "_listeners", "_loss", "_session")

    def __init__(self, session: Session, ledger: Ledger, claim: Claim) -> None:
        self._session = session
        self._ledger = ledger
        self._claim = claim
        self._loss: Loss | None = None
        self._listeners: list[Callable[[LossReason], None]] | None = None

    @property
    def name(self) -> str:
        """The name of the lock."""
        return self._claim.name

    @property
    def token(self) -> int:
        """The fencing token. What the lock protects is to refuse anything older."""
        return self._claim.token

    @property
    def shared(self) -> bool:
        """Whether other shared holders may hold it too."""
        return self._claim.shared

    @property
    def owner(self) -> str:
        """Who within the session holds it."""
        return self._claim.owner

    @property
    def session(self) -> Session:
        """The session that holds it."""
        return self._session

    @property
    def held(self) -> bool:
        """Whether the lock is held at this moment, by the local clock."""
        return self._claim.state is ClaimState.HELD and self._session.remaining > 0

    @property
    def lost(self) -> Loss:
        """The news of its loss: `is_set()`, `reason`, `await wait()`."""
        if self._loss is None:
            self._loss = Loss(self._session, self._claim)
            self.when_lost(self._tell_waiters)
        return self._loss

    def check(self) -> None:
        """Raise LockLost when the lock was lost, NotHeld when it was released."""
        reason = self.lost.reason
        if reason is not None:
            raise LockLost(self.name, self.token, reason)
        if self._claim.state is not ClaimState.HELD:
            raise NotHeld(f"lock {self.name!r} was released already")

    async def release(self) -> None:
        """Give the lock up; it is free, or the next one's, on return.

        A release that is interrupted still takes place. Raises LockLost when the lock was lost
        before, NotHeld when it was released before, SessionExpired when the session ended before
        the server answered.
        """
        claim, ledger = self._claim, self._ledger
        answer = ledger.release(claim, asyncio.get_running_loop().time())
        if self._loss is not None:
            self._loss.wake()
        try:
            await answer
        except BaseException:
            ledger.abandon(claim)
            raise

    def when_lost(self, listener: Callable[[LossReason], None]) -> None:
        """Call `listener` on the event loop's thread when the lock is lost."""
        if self._listeners is None:
            self._listeners = []
            self._claim.on_lost = self._tell
        self._listeners.append(listener)

    def _tell(self, reason: LossReason) -> None:
        for listener in self._listeners or ():
            listener(reason)

    def _tell_waiters(self, _reason: LossReason) -> None:
        if self._loss is not None:
            self._loss.wake()

    def __repr__(self) -> str:
        claim = self._claim
        state = "lost" if claim.loss is not None else claim.state.value
        return f"<Lock {claim.name!r} {state} token={claim.token}>"
