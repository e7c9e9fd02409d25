"""A session: the lease under which locks are held, kept over streams, servers and reconnects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack

from lockstream._asks import Part, as_parts, ask_all, ask_one, checked_wait
from lockstream._context import (
    AcquireAllOptions,
    AcquireOptions,
    LockAllContext,
    LockContext,
    SemaphoreOptions,
    locked,
)
from lockstream._departed import departed
from lockstream._errors import InvalidArgument, WouldBlock, WrongState
from lockstream._lease import Lease
from lockstream._lock import Lock
from lockstream._owners import Owners
from lockstream._reentry import Reentries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from lockstream._asks import Ask
    from lockstream._keeper import Keeper
    from lockstream._reasons import LossReason

P = ParamSpec("P")
T = TypeVar("T")


class Session(Lease):
    """One session, to be used as `async with client.session() as session`.

    Locks are held for as long as the session lives. It outlives broken connections: the client goes
    to the next endpoint and resumes. It ends with `close`, or when nobody can prove in time that
    its lease lives; then every lock is lost and whoever waits gets `SessionExpired`.
    """

    def __init__(self, keeper: Keeper) -> None:
        super().__init__(keeper)
        self._owners = Owners("task")
        self._reentries = Reentries()

    async def acquire(
        self,
        name: str,
        *,
        shared: bool = False,
        permits: int | None = None,
        limit: int | None = None,
        wait: float | None = None,
        owner: str | None = None,
        reentrant: bool = False,
        value: bytes = b"",
        metadata: Mapping[str, str] | None = None,
        max_hold: float | None = None,
        yield_notice: float | None = None,
        lock_delay: float | None = None,
        request_yield: bool = False,
        on_wait: Callable[[int], object] | None = None,
        on_lost: Callable[[Lock, LossReason], object] | None = None,
        on_yield: Callable[[Lock, float | None], object] | None = None,
    ) -> Lock:
        """Acquire a lock and return it held; `release` it afterwards.

        Args:
            name: UTF-8, 1 to 512 bytes.
            shared: hold it together with other shared holders.
            permits: take so many permits of a counting semaphore; 1 when only `limit` is stated.
            limit: how many permits the semaphore has, from 1 to 1,000,000. All who use the name state the same.
            wait: None waits for as long as it takes, 0 or False does not wait at all, else seconds.
            owner: who asks, within the session. The same owner cannot have a name twice. The
                default is the task.
            reentrant: an owner that holds the lock exclusively, and acquired it with this too, gets the same lock
                again at once, as it is; the other arguments are those of the first time. It is given up by as many
                releases as there were acquires. Not for shared locks and semaphores.
            value: shown with the lock to whoever reads or watches it. At most 4096 bytes. See `Lock.set_value`.
            metadata: labels shown with it.
            max_hold: seconds that the lock may be held, at least 1; then it is lost (MAX_HOLD_EXCEEDED).
            yield_notice: seconds before the end of `max_hold` at which `on_yield` is called; a tenth of it by default.
            lock_delay: seconds, at most 600, for which the name stays taken should this session be lost while it
                holds, so that what the holder left under way can end. Exclusive locks only.
            request_yield: ask whoever holds the lock to yield, should it not be free.
            on_wait: called with the place in the queue, from 1, when the lock is not free, and as it changes.
            on_lost: called with the lock and the reason when the lock is lost.
            on_yield: called with the lock when it is asked to be given up: with the seconds that are left of
                `max_hold`, or with None when somebody waits who asked for it, which may be ignored.

        Raises:
            WouldBlock: it is not free, and `wait` is 0.
            ServerUnavailable: no server is there to be asked, and `wait` is 0.
            WaitTimeout: it was not granted within `wait`.
            AlreadyHeld: the owner holds or awaits it already.
            Deadlock: its owner and others would wait for each other for ever.
            LimitMismatch: others state another `limit`.
            SessionExpired: the session ended meanwhile.
            LockstreamError: another reason of the server's; each has a class of its own.

        A cancelled acquire leaves nothing behind, even when it was granted at that moment.
        """
        owner = self._owner(owner)
        if reentrant:
            if shared or permits is not None or limit is not None:
                raise InvalidArgument("only exclusive locks are reentrant")
            entered = self._reentries.enter(name, owner)
            if entered is not None:
                return entered
        ask = ask_one(
            name,
            owner,
            shared=shared,
            permits=permits,
            limit=limit,
            value=value,
            metadata=metadata,
            max_hold=max_hold,
            yield_notice=yield_notice,
            lock_delay=lock_delay,
            request_yield=request_yield,
        )
        lock = await self._acquire(ask, wait, on_wait, on_lost, on_yield)
        if reentrant:
            self._reentries.admit(lock)
        return lock

    async def acquire_all(
        self,
        parts: Iterable[str | Part],
        *,
        wait: float | None = None,
        owner: str | None = None,
        on_wait: Callable[[int], object] | None = None,
        on_lost: Callable[[Lock, LossReason], object] | None = None,
        on_yield: Callable[[Lock, float | None], object] | None = None,
    ) -> Lock:
        """Acquire up to 100 locks at once, all or none, and return them held, as one lock.

        They have one place in time in every queue, so no two such acquires ever wait for each other in a circle. They
        have one token; one `release` gives up all of them, and the loss of one is the loss of all.

        Args:
            parts: names, for exclusive locks, or a `Part` each. No name twice.
            wait: as in `acquire`, for all of them together.
            owner: as in `acquire`.
            on_wait: called with the last of the places in the queues, and as it changes.
            on_lost: as in `acquire`.
            on_yield: as in `acquire`, for any of them.

        Raises as `acquire`.
        """
        ask = ask_all(as_parts(parts), self._owner(owner))
        return await self._acquire(ask, wait, on_wait, on_lost, on_yield)

    async def try_lock(self, name: str, *, shared: bool = False) -> Lock | None:
        """Acquire a lock if it is free, or return None at once. ServerUnavailable when nobody can tell."""
        try:
            return await self.acquire(name, shared=shared, wait=0)
        except WouldBlock:
            return None

    def lock(self, name: str, *, cancel_on_loss: bool = True, **options: Unpack[AcquireOptions]) -> LockContext:
        """`async with session.lock("name") as lock:` with the options of `acquire`.

        When the lock is lost the body is cancelled and LockLost raised in its place. With
        `cancel_on_loss=False` the body goes on, may look at `lock.lost`, and LockLost is raised at
        its end.
        """
        return LockContext(self._itself, name, options, cancel_on_loss=cancel_on_loss)

    def locked(
        self, name: str, *, cancel_on_loss: bool = True, **options: Unpack[AcquireOptions]
    ) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
        """A decorator for coroutine functions: each call holds the lock."""
        return locked(lambda: self.lock(name, cancel_on_loss=cancel_on_loss, **options))

    def semaphore(
        self,
        name: str,
        limit: int,
        *,
        permits: int = 1,
        cancel_on_loss: bool = True,
        **options: Unpack[SemaphoreOptions],
    ) -> LockContext:
        """`async with session.semaphore("name", limit=10):` holds `permits` of the `limit` permits of a name.

        First come, first served: who wants many is not overtaken by who wants few. Options and errors are those of
        `acquire`; else as `lock`.
        """
        return self.lock(name, limit=limit, permits=permits, cancel_on_loss=cancel_on_loss, **options)

    def lock_all(
        self, parts: Iterable[str | Part], *, cancel_on_loss: bool = True, **options: Unpack[AcquireAllOptions]
    ) -> LockContext:
        """`async with session.lock_all(["a", "b"]) as lock:` with the options of `acquire_all`; else as `lock`."""
        return LockAllContext(self._itself, parts, options, cancel_on_loss=cancel_on_loss)

    async def request_yield(self, name: str) -> None:
        """Ask those who hold what this session waits for under this name to give it up soon. They may ignore it.

        As the option of `acquire`, for when the wait has begun already. WrongState when the session does not wait.
        """
        waiting = self._ledger.waiting_for(name)
        if not waiting:
            raise WrongState(f"nothing of this session waits for lock {name!r}")
        await asyncio.gather(*map(self._ledger.request_yield, waiting))

    async def wait_until_free(self, name: str, *, wait: float | None = None) -> None:
        """Return once everybody who holds or awaits the lock by now is gone. Keeps nothing."""
        lock = await self.acquire(name, wait=wait)
        await lock.release()

    async def _itself(self) -> Session:
        return self

    async def _acquire(
        self,
        ask: Ask,
        wait: float | None,
        on_wait: Callable[[int], object] | None,
        on_lost: Callable[[Lock, LossReason], object] | None,
        on_yield: Callable[[Lock, float | None], object] | None,
    ) -> Lock:
        keeper, ledger = self._keeper, self._ledger
        wait, since = checked_wait(wait), keeper.clock.time()
        now = await departed(keeper, ask.names, ask.owner, since=since, wait=wait) if ledger.departures else since
        claim = ledger.acquire(ask, now, since=since, wait=wait)
        lock = Lock(self, keeper, claim.hold)
        if on_wait is not None:
            claim.on_wait = lambda position: self._call_soon(on_wait, position)
        if on_yield is not None:
            claim.hold.on_yield = lambda remaining: self._call_soon(on_yield, lock, remaining)
        await keeper.granted(claim)
        if on_lost is not None:
            lock.listen(lambda reason: None if reason is None else self._call_soon(on_lost, lock, reason))
        return lock

    def _owner(self, stated: str | None) -> str:
        return self._owners.name(asyncio.current_task()) if stated is None else stated

    def _call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call the user's callback apart from our own steps.

        What it raises goes to the loop's exception handler.
        """
        self._keeper.loop.call_soon(callback, *args)
