"""From a connection string to a client."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import grpc

from lockstream import _dsn, _local
from lockstream._channels import Channels
from lockstream._client import Client
from lockstream._errors import ConfigError
from lockstream._options import OPTION_NAMES, Options

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

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
    options = Options(**chosen)
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
