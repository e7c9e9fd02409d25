"""`local:`, a server in this process. The only module of the client that knows of the server."""

from __future__ import annotations

from typing import Protocol

from lockstream._errors import ConfigError


class LocalServer(Protocol):
    """A server in this process, with its locks in memory."""

    target: str

    async def stop(self) -> None:
        """End it."""


async def start() -> LocalServer:
    """Start a server. ConfigError when the server's package is not installed."""
    try:
        from lockstream_server.local import start_local  # noqa: PLC0415 - only `local:` needs it
    except ModuleNotFoundError as error:
        raise ConfigError(f"'local:' needs the server: install lockstream[server] ({error})") from error
    server: LocalServer = await start_local()
    return server
