"""A lock that was granted, and the news of its loss."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from lockstream._asks import checked_wait, say_downgrade, say_value
from lockstream._claims import ClaimState
from lockstream._departed import departed
from lockstream._errors import LockstreamError
from lockstream._reasons import LossNotice, LossReason

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from lockstream._errors import LockLost
    from lockstream._hold import Hold
    from lockstream._keeper import Keeper
    from lockstream._session import Session
    from lockstream.v1 import session_pb2


class Loss:
    """Whether a lock was lost, why, and a way to wait for it.

    Reading it is safe from any thread.
    """

    __slots__ = ("_hold", "_session", "_waiters")

    def __init__(self, session: Session, hold: Hold) -> None:
        self._session = session
        self._hold = hold
        self._waiters: list[asyncio.Future[None]] = []
        hold.listeners.append(self._wake)

    @property
    def reason(self) -> LossReason | None:
        """Why the lock was lost, or None.

        Past the local deadline it counts as lost, noticed by others or not.
        """
        notice = self._notice
        return None if notice is None else notice.reason

    @property
    def detail(self) -> str:
        """For FORCE_RELEASED the reason which the operator stated, for MAX_HOLD_EXCEEDED the server's; else empty."""
        notice = self._notice
        return "" if notice is None else notice.detail

    @property
    def actor(self) -> str:
        """For FORCE_RELEASED who the operator said to be, for MAX_HOLD_EXCEEDED the server; else empty."""
        notice = self._notice
        return "" if notice is None else notice.actor

    @property
    def error(self) -> LockLost | None:
        """The exception that tells of the loss, or None."""
        notice = self._notice
        return None if notice is None else self._hold.lock_lost(notice)

    def is_set(self) -> bool:
        """Whether the lock was lost."""
        return self._notice is not None

    async def wait(self) -> LossReason | None:
        """Wait until the lock is lost, and tell why; or until it is released, which is None."""
        while (reason := self.reason) is None and self._hold.top.state is ClaimState.HELD:
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

    @property
    def _notice(self) -> LossNotice | None:
        hold = self._hold
        if hold.loss is None and hold.top.state is ClaimState.HELD and self._session.remaining <= 0:
            return LossNotice(LossReason.UNPROVEN)
        return hold.loss

    def _wake(self, _reason: LossReason | None) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def __repr__(self) -> str:
        reason = self.reason
        return f"<Loss {'none' if reason is None else reason.name}>"


class Lock:
    """A granted lock, or several that were acquired at once. It is held until `release`, or until it is lost."""

    __slots__ = ("_entered", "_hold", "_keeper", "_loss", "_session")

    def __init__(self, session: Session, keeper: Keeper, hold: Hold) -> None:
        self._session = session
        self._keeper = keeper
        self._hold = hold
        self._loss: Loss | None = None
        self._entered = 1

    @property
    def name(self) -> str:
        """The name of the lock; of several the first."""
        return self._hold.top.name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all locks that were acquired at once; else the one name."""
        return self._hold.top.names

    @property
    def token(self) -> int:
        """The fencing token. What the lock protects is to refuse anything older.

        It is the same for all of several locks. An upgrade brings another.
        """
        return self._hold.top.token

    @property
    def shared(self) -> bool:
        """Whether other shared holders may hold it too. Of several locks: all of them."""
        return self._hold.top.shared

    @property
    def permits(self) -> int:
        """How many permits of a semaphore it takes; 0 when it is none, or one of several locks."""
        return self._hold.top.ask.permits

    @property
    def owner(self) -> str:
        """Who within the session holds it."""
        return self._hold.top.owner

    @property
    def session(self) -> Session:
        """The session that holds it."""
        return self._session

    @property
    def held(self) -> bool:
        """Whether the lock is held at this moment, by the local clock."""
        return self._hold.top.state is ClaimState.HELD and self._session.remaining > 0

    @property
    def yield_requested(self) -> bool:
        """Whether it was asked to be given up: somebody waits who wants it badly, or its `max_hold` is nearly over."""
        return self._hold.yield_requested

    @property
    def lost(self) -> Loss:
        """The news of its loss: `is_set()`, `reason`, `await wait()`."""
        if self._loss is None:
            self._loss = Loss(self._session, self._hold)
        return self._loss

    def check(self) -> None:
        """Raise LockLost when the lock was lost, NotHeld when it was released."""
        lost = self.lost.error
        if lost is not None:
            raise lost
        if self._hold.top.state is not ClaimState.HELD:
            raise self._hold.error()

    async def upgrade(self, *, wait: float | None = None) -> None:
        """Make a shared lock exclusive, ahead of all who wait for it; `token` is another afterwards.

        While it waits for the other readers to leave, the lock is held as before, and so it is when the upgrade fails
        or is cancelled. `release` gives up all of it.

        Args:
            wait: None waits for as long as it takes, 0 or False does not wait at all, else seconds.

        Raises:
            UpgradeConflict: a writer or another upgrade waits already: release the lock and acquire it exclusively.
            WouldBlock: others share it, and `wait` is 0.
            ServerUnavailable: no server is there to be asked, and `wait` is 0.
            WaitTimeout: others shared it for longer than `wait`.
            LockLost: the lock was lost before, or meanwhile.
            NotHeld: it was released before, or meanwhile.
            WrongState: it is not shared, or an upgrade is under way.
        """
        hold, keeper = self._hold, self._keeper
        wait, since = checked_wait(wait), keeper.clock.time()
        keeper.ledger.prepare_upgrade(hold, since)
        now = await departed(keeper, self.names, self.owner, since=since, wait=wait)
        await keeper.granted(keeper.ledger.upgrade(hold, now, since=since, wait=wait))

    async def downgrade(self) -> None:
        """Make an exclusive lock shared; it keeps its token. On return the readers that waited behind it have joined.

        It counts as shared from the call on, whatever comes of that. Safe to repeat when the outcome is unknown
        (StoreUnavailable). Raises LockLost and NotHeld as `release`.
        """
        top = self._hold.top
        answer = self._change(say_downgrade(top))
        top.shared = True
        await answer

    async def set_value(self, value: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Change what the lock shows to whoever reads or watches it; it is shown on return.

        Safe to repeat when the outcome is unknown (StoreUnavailable).

        Args:
            value: at most 4096 bytes.
            metadata: labels, which replace all there were; None for none.

        Raises:
            LockLost: the lock was lost.
            NotHeld: it was released.
            InvalidArgument: value or labels are too large, or none.
        """
        await self._change(say_value(self._hold.top, value, metadata or {}))

    async def release(self) -> None:
        """Give the lock up; it is free, or the next one's, on return.

        Entered more than once (`reentrant`), it is left once. A release that is interrupted still takes place. Raises
        LockLost when the lock was lost before, NotHeld when it was released before, SessionExpired when the session
        ended before the server answered.
        """
        if self._entered > 1:
            self.check()
            self._entered -= 1
            return
        hold, ledger = self._hold, self._keeper.ledger
        answer = ledger.release(hold, self._keeper.clock.time())
        hold.tell(None)
        try:
            await answer
        except BaseException:
            ledger.forsake(hold)
            raise

    async def release_after_failure(self) -> None:
        """Give the lock up, if it is held, on the way out of a body that failed: what it raised tells more than this.

        The server's answer is awaited for as long as one should take, and not at all when no server can be told at the
        moment; the release takes place nevertheless.
        """
        if self.held:
            ledger = self._keeper.ledger
            with suppress(LockstreamError, TimeoutError):
                async with asyncio.timeout(0 if ledger.link is None else ledger.heartbeat_interval):
                    await self.release()

    def enter(self) -> None:
        """Hold the lock once more: it takes one `release` more to give it up. See `reentrant` of `Session.acquire`."""
        self.check()
        self._entered += 1

    def listen(self, listener: Callable[[LossReason | None], None]) -> None:
        """Call `listener` on the loop's thread when the lock is lost, with the reason, or released, with None."""
        self._hold.listeners.append(listener)

    def ignore(self, listener: Callable[[LossReason | None], None]) -> None:
        """Take a `listen` back."""
        self._hold.listeners.remove(listener)

    def _change(self, request: session_pb2.Request) -> asyncio.Future[None]:
        return self._keeper.ledger.change(self._hold, request, self._keeper.clock.time())

    def __repr__(self) -> str:
        top = self._hold.top
        state = "lost" if self._hold.loss is not None else top.state.value
        names = ", ".join(map(repr, top.names))
        return f"<Lock {names} {state} token={top.token}>"
