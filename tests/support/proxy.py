"""A TCP proxy in front of a server, to lose what is said and to break connections."""

import asyncio
from contextlib import suppress
from typing import Self

from tests.support.processes import LOOPBACK

_CHUNK_BYTES = 65_536


class Proxy:
    """Passes bytes on to `port` of the loopback interface. A context manager; clients use `target`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client_audible = asyncio.Event()
        self._server_audible = asyncio.Event()
        self._refusing = False
        self._connections: set[asyncio.Task[None]] = set()
        self.target = ""
        """`host:port` of the proxy."""
        self.asked_at: list[float] = []
        """When each connection was asked for, those refused included, by the event loop's clock."""
        self.heal()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._connected, LOOPBACK, 0)
        self.target = f"{LOOPBACK}:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._listener.close()
        await self.cut()

    def mute(self) -> None:
        """From now on nothing that the server says arrives; what clients say still does."""
        self._server_audible.clear()

    def pause(self) -> None:
        """From now on nothing arrives in either direction, and no connection ends: a pulled cable."""
        self._client_audible.clear()
        self._server_audible.clear()

    async def cut(self, *, refuse: bool = False) -> None:
        """Break all connections, with whatever was not delivered.

        New ones are passed on in full, or with `refuse` broken at once until `heal`.
        """
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        self.heal()
        self._refusing = refuse

    def heal(self) -> None:
        """Pass everything on again, what was held back in between included."""
        self._refusing = False
        self._client_audible.set()
        self._server_audible.set()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked_at.append(asyncio.get_running_loop().time())
        if self._refusing:
            writer.transport.abort()
            return
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        # A server that is away is for the client to find out.
        with suppress(asyncio.CancelledError, OSError):
            try:
                server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._port)
                writers.append(server_writer)
                pumps = [
                    asyncio.ensure_future(self._pump(reader, server_writer, self._client_audible)),
                    asyncio.ensure_future(self._pump(server_reader, writer, self._server_audible)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
            finally:
                for each in writers:
                    each.transport.abort()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, allowed: asyncio.Event) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await allowed.wait()
            writer.write(data)
            await writer.drain()
