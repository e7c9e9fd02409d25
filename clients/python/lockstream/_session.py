"""A session: the lease under which locks are held, kept over streams, servers and reconnects."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack

from lockstream._context import AcquireOptions, LockContext, locked
from lockstream._errors import (
    InvalidArgument,
    LockstreamError,
    WouldBlock,
)
from lockstream._keeper import Keeper
from lockstream._lock import Lock
from lockstream._owners import Owners

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from lockstream._channels import Channels
    from lockstream._options import Options
    from lockstream._reasons import LossReason
    from lockstream.v1 import session_pb2

P = ParamSpec("P")
T = TypeVar("T")


class Session:
    """One session, to be used as `async with client.session() as session`.

    Locks are held for as long as the session lives. It outlives broken connections: the client goes
    to the next endpoint and resumes. It ends with `close`, or when nobody can prove in time that
    its lease lives; then every lock is lost and whoever waits gets `SessionExpired`.
    """

    def __init__(self, channels: Channels, opening: session_pb2.Open, options: Options) -> None:
        self._keeper = Keeper(channels, opening, options)
        self._ledger = self._keeper.ledger
        self._loop = self._keeper.loop
        self._owners = Owners("task")

    # What it is.

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
        return self._ledger.deadline - self._loop.time()

    # Locks.

    async def acquire(
        self,
        name: str,
        *,
        shared: bool = False,
        wait: float | None = None,
        owner: str | None = None,
        on_wait: Callable[[int], object] | None = None,
        on_lost: Callable[[Lock, LossReason], object] | None = None,
    ) -> Lock:
        """Acquire a lock and return it held; `release` it afterwards.

        Args:
            name: UTF-8, 1 to 512 bytes.
            shared: hold it together with other shared holders.
            wait: None waits for as long as it takes, 0 or False does not wait at all, else seconds.
            owner: who asks, within the session. The same owner cannot have a name twice. The
                default is the task.
            on_wait: called with the place in the queue, from 1, when the lock is not free.
            on_lost: called with the lock and the reason when the lock is lost.

        Raises:
            WouldBlock: it is not free, and `wait` is 0.
            WaitTimeout: it was not granted within `wait`.
            AlreadyHeld: the owner holds or awaits it already.
            SessionExpired: the session ended meanwhile.
            LockstreamError: another reason of the server's; each has a class of its own.

        A cancelled acquire leaves nothing behind, even when it was granted at that moment.
        """
        ledger, loop = self._ledger, self._loop
        _check_text(name)
        if wait is not None:
            wait = _checked_wait(wait)
        if owner is None:
            owner = self._owners.name(asyncio.current_task())
        else:
            _check_text(owner)
        while ledger.leaving and (leaving := ledger.leaving.get((name, owner))) is not None:
            # What this owner gave up is still on its way out; asked now, the server might see it
            # having both.
            await asyncio.wait((leaving.answer,))
        claim = ledger.acquire(name, owner, loop.time(), shared=shared, wait=wait)
        if on_wait is not None:
            claim.on_wait = lambda position: self._call_soon(on_wait, position)
        if claim.until is not None and ledger.link is None:
            self._keeper.arm()
        try:
            await claim.answer
            ledger.confirm(claim, loop.time())
        except BaseException:
            ledger.abandon(claim)
            raise
        lock = Lock(self, ledger, claim)
        if on_lost is not None:
            lock.when_lost(lambda reason: self._call_soon(on_lost, lock, reason))
        return lock

    async def try_lock(self, name: str, *, shared: bool = False) -> Lock | None:
        """Acquire a lock if it is free, or return None at once."""
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

    async def wait_until_free(self, name: str, *, wait: float | None = None) -> None:
        """Return once everybody who holds or awaits the lock by now is gone. Keeps nothing."""
        lock = await self.acquire(name, wait=wait)
        await lock.release()

    # Its life.

    async def open(self) -> None:
        """Open the session at one of the endpoints, within the connect timeout.

        `async with` does this. Raises what the last attempt raised, such as ServerUnavailable.
        """
        await self._keeper.open()

    async def close(self) -> None:
        """End the session: every lock and queue place is free on return.

        A second close is WrongState.
        """
        await self._keeper.close()

    async def __aenter__(self) -> Session:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ledger.ended is None:
            await self.close()
        else:
            await self._keeper.stop()

    def __repr__(self) -> str:
        return f"<Session {self._ledger!r} server={self.server!r}>"

    async def _itself(self) -> Session:
        return self

    def _call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call the user's callback apart from our own steps.

        What it raises goes to the loop's exception handler.
        """
        self._loop.call_soon(callback, *args)


def _check_text(text: str) -> None:
    """What would break the frame of everybody else's requests is refused before it gets there."""
    try:
        text.encode()
    except (AttributeError, UnicodeEncodeError):
        raise InvalidArgument(f"names and owners are text that UTF-8 can encode, not {text!r}") from None


def _checked_wait(wait: float) -> float | None:
    """The wait as the ledger takes it: None for ever, 0.0 for a try, else seconds."""
    if wait is True:
        return None  # as `threading.Lock.acquire(blocking=True)` has it; not one second
    if not 0 <= wait < math.inf:
        raise InvalidArgument(f"wait is None, 0 or a number of seconds, not {wait}")
    return float(wait)
