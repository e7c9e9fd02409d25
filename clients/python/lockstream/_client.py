"""The client: its sessions, what it can look up and watch, and its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack
from weakref import WeakSet

from lockstream._admin import Admin
from lockstream._calls import Calls
from lockstream._context import (
    AcquireAllOptions,
    AcquireOptions,
    LockAllContext,
    LockContext,
    SemaphoreOptions,
    locked,
)
from lockstream._election import Election
from lockstream._errors import InvalidArgument, WrongState
from lockstream._keeper import Keeper
from lockstream._reads import Reads
from lockstream._requests import build, say_duration
from lockstream._session import Session
from lockstream._watch import LockWatch
from lockstream.v1 import service_pb2, session_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from types import TracebackType

    from lockstream._asks import Part
    from lockstream._channels import Channels
    from lockstream._local import LocalServer
    from lockstream._options import Options

P = ParamSpec("P")
T = TypeVar("T")


class Client(Reads):
    """A lock service seen from here.

    Made by `connect`; closed by `close` or the end of `async with`.
    """

    def __init__(self, channels: Channels, options: Options, local: LocalServer | None) -> None:
        calls = Calls(channels, options)
        super().__init__(calls)
        self.admin = Admin(calls)
        """What operators may do to other people's locks."""
        self._channels = channels
        self._options = options
        self._local = local
        # One that is forgotten is kept by its timer and its tasks for as long as it does anything.
        self._keepers: WeakSet[Keeper] = WeakSet()
        self._watches: WeakSet[LockWatch] = WeakSet()
        self._shared: Session | None = None
        self._opening = asyncio.Lock()
        self._ending: asyncio.Task[None] | None = None

    def session(
        self,
        *,
        ttl: float | None = None,
        grace: float | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Session:
        """A new session, opened by `async with` or `Session.open`.

        What is not stated is as `connect` was told.

        Args:
            ttl: seconds it outlives the last proof that this process is there.
            grace: seconds it is kept when its connection breaks; 0 frees everything at once but what has a lock delay.
            name: who the client is, for people who read listings.
            metadata: labels for listings.
        """
        if self._ending is not None:
            raise WrongState("the client is closed")
        options = replace(
            self._options,
            ttl=self._options.ttl if ttl is None else ttl,
            grace=self._options.grace if grace is None else grace,
            name=self._options.name if name is None else name,
        )
        keeper = Keeper(self._channels, _opening(options, metadata or {}), options)
        self._keepers.add(keeper)
        return Session(keeper)

    def lock(self, name: str, *, cancel_on_loss: bool = True, **options: Unpack[AcquireOptions]) -> LockContext:
        """As `Session.lock`, in the client's own session.

        It is opened when first needed and shared by all who use this.
        """
        return LockContext(self.shared_session, name, options, cancel_on_loss=cancel_on_loss)

    def locked(
        self, name: str, *, cancel_on_loss: bool = True, **options: Unpack[AcquireOptions]
    ) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
        """As `Session.locked`, in the client's own session."""
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
        """As `Session.semaphore`, in the client's own session."""
        return self.lock(name, limit=limit, permits=permits, cancel_on_loss=cancel_on_loss, **options)

    def lock_all(
        self, parts: Iterable[str | Part], *, cancel_on_loss: bool = True, **options: Unpack[AcquireAllOptions]
    ) -> LockContext:
        """As `Session.lock_all`, in the client's own session."""
        return LockAllContext(self.shared_session, parts, options, cancel_on_loss=cancel_on_loss)

    async def wait_until_free(self, name: str, *, wait: float | None = None) -> None:
        """As `Session.wait_until_free`, in the client's own session."""
        session = await self.shared_session()
        await session.wait_until_free(name, wait=wait)

    def watch_locks(self, name: str | None = None, *, prefix: str | None = None, after_revision: int = 0) -> LockWatch:
        """Watch one lock, or all whose names begin with `prefix`, or every lock. See `LockWatch`.

        Args:
            name: the lock.
            prefix: what the names begin with.
            after_revision: go on after this revision, `LockWatch.revision` of another watch, instead of beginning with
                a snapshot.
        """
        if self._ending is not None:
            raise WrongState("the client is closed")
        if name is not None and prefix is not None:
            raise InvalidArgument("watch one name or a prefix, not both")
        names = {"prefix": prefix or ""} if name is None else {"name": name}
        request = build(service_pb2.WatchLocksRequest, **names, after_revision=after_revision)
        watch = LockWatch(self._channels, self._options, request)
        self._watches.add(watch)
        return watch

    def election(self, name: str, *, session: Session | None = None) -> Election:
        """The election of this name. Who campaigns does so in `session`; without one in the client's own."""

        async def campaigning() -> Session:
            return session or await self.shared_session()

        return Election(name, campaigning, self, lambda: self.watch_locks(name))

    async def close(self) -> None:
        """Close the sessions that are still open, which frees their locks, the watches and the connections.

        It goes on when whoever waits for it is cancelled, who may wait again.
        """
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(), name="lockstream end")
        await asyncio.shield(self._ending)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _end(self) -> None:
        await asyncio.gather(*(watch.close() for watch in self._watches))
        await asyncio.gather(*(keeper.end() for keeper in self._keepers))
        await self._channels.close()
        if self._local is not None:
            await self._local.stop()

    async def shared_session(self) -> Session:
        """The client's own session, opened when first needed and anew after it ended."""
        session = self._shared
        if session is not None and session.ended is None:
            return session
        async with self._opening:
            if self._shared is None or self._shared.ended is not None:
                session = self.session()
                await session.open()
                self._shared = session
            return self._shared


def _opening(options: Options, metadata: Mapping[str, str]) -> session_pb2.Open:
    """The request that opens a session.

    Heartbeats are always promised: a client that hangs is to lose its locks.
    """
    opening = build(session_pb2.Open, client_name=options.name, metadata=metadata, heartbeats=True)
    say_duration(opening.ttl, "ttl", options.ttl)
    say_duration(opening.detach_grace, "grace", options.grace)
    return opening
