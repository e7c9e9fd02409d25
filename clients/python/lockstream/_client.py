"""The client: where the servers are, the sessions opened there, and the reads."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, Unpack
from weakref import WeakSet

import grpc

from lockstream import _dsn, _local
from lockstream._channels import Channels
from lockstream._context import AcquireOptions, LockContext, locked
from lockstream._errors import ConfigError, InvalidArgument, WrongState
from lockstream._options import OPTION_NAMES, Options
from lockstream._reads import Reads
from lockstream._session import Session
from lockstream.v1 import session_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_TARGET = f"127.0.0.1:{_dsn.DEFAULT_PORT}"


class ConnectOptions(TypedDict, total=False):
    """The options of `connect`; see `Options`. They go before those in the connection string."""

    ttl: float | None
    grace: float | None
    name: str
    connect_timeout: float
    backoff_min: float
    backoff_max: float
    ca: str | None
    cert: str | None
    key: str | None


class Client(Reads):
    """A lock service seen from here.

    Made by `connect`; closed by `close` or the end of `async with`.
    """

    def __init__(self, channels: Channels, options: Options, local: _local.LocalServer | None) -> None:
        super().__init__(channels, options)
        self._local = local
        self._sessions: WeakSet[Session] = WeakSet()
        self._shared: Session | None = None
        self._opening = asyncio.Lock()
        self._closed = False

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
            grace: seconds it is kept when its connection breaks; 0 frees everything at once.
            name: who the client is, for people who read listings.
            metadata: labels for listings.
        """
        if self._closed:
            raise WrongState("the client is closed")
        options = replace(
            self._options,
            ttl=self._options.ttl if ttl is None else ttl,
            grace=self._options.grace if grace is None else grace,
            name=self._options.name if name is None else name,
        )
        session = Session(self._channels, _opening(options, metadata or {}), options)
        self._sessions.add(session)
        return session

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

    async def wait_until_free(self, name: str, *, wait: float | None = None) -> None:
        """As `Session.wait_until_free`, in the client's own session."""
        session = await self.shared_session()
        await session.wait_until_free(name, wait=wait)

    async def close(self) -> None:
        """Close the sessions that are still open, which frees their locks, and the connections."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(session.__aexit__(None, None, None) for session in self._sessions if session.id))
        await self._channels.close()
        if self._local is not None:
            await self._local.stop()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

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


class Connecting:
    """What `connect` returns.

    Await it for a client, or enter it with `async with` for one that is closed afterwards.
    """

    def __init__(self, target: str, options: ConnectOptions) -> None:
        self._target, self._options = resolve(target, options)
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        """The client."""
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> Client:
        target, local = self._target, None
        if target.local:
            local = await _local.start()
            target = _dsn.parse(local.target)
        channels = Channels(target.endpoints, _credentials(target, self._options))
        return Client(channels, self._options, local)


def connect(target: str = DEFAULT_TARGET, **options: Unpack[ConnectOptions]) -> Connecting:
    """Make a client for the servers at `target`.

    Either `client = await connect(...)` or `async with connect(...) as client`.

    Nothing is sent before the first session or read. The client belongs to the running event loop;
    a process that forks makes its own afterwards, because gRPC's threads do not survive a fork.

    Args:
        target: `host:port,host2`, `unix:///path`, `lockstream://host?ttl=10s&name=worker`,
        `lockstreams://` for TLS,
            or `local:` for a server in this process. The port is 7420 unless stated.
        options: see `Options`; each goes before the one in the connection string.

    Raises:
        ConfigError: the target or an option was not understood; the sentence names the part.
    """
    return Connecting(target, options)


def resolve(text: str, stated: ConnectOptions) -> tuple[_dsn.Target, Options]:
    """The target and the options of a connection string, with what was stated beside it."""
    target = _dsn.parse(text)
    for name in stated:
        if name not in OPTION_NAMES:
            raise ConfigError(f"unknown option {name!r}: known are {', '.join(sorted(OPTION_NAMES))}")
    chosen: dict[str, Any] = {**target.options, **stated}
    try:
        options = Options(**chosen)
    except TypeError as error:
        raise ConfigError(f"an option is not of its type: {error}") from None
    if (options.ca or options.cert) and not target.tls:
        raise ConfigError("options 'ca', 'cert' and 'key' need TLS: use lockstreams://")
    if not options.name:
        options = replace(options, name=f"{socket.gethostname()}/{os.getpid()}")
    return target, options


def _credentials(target: _dsn.Target, options: Options) -> grpc.ChannelCredentials | None:
    if not target.tls:
        return None
    return grpc.ssl_channel_credentials(
        _contents("ca", options.ca), _contents("key", options.key), _contents("cert", options.cert)
    )


def _contents(option: str, path: str | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"option {option!r}: {error}") from None


def _opening(options: Options, metadata: Mapping[str, str]) -> session_pb2.Open:
    """The request that opens a session.

    Heartbeats are always promised: a client that hangs is to lose its locks.
    """
    try:
        opening = session_pb2.Open(client_name=options.name, metadata=metadata, heartbeats=True)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"name and metadata are text: {error}") from None
    if options.ttl is not None:
        opening.ttl.FromNanoseconds(round(options.ttl * 1e9))
    if options.grace is not None:
        opening.detach_grace.FromNanoseconds(round(options.grace * 1e9))
    return opening
