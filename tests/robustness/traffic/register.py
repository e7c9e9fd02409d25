"""Two registers beside each lock, one fenced and one not: a server that clients write to, and how they do.

A line is one request and gets one line back. The fenced register takes a write only with a token that is not older than
the newest it saw of the name; the other takes every write, as most stores do. Both record what they did in the order in
which they did it.
"""

import asyncio
from pathlib import Path

import orjson

from tests.robustness.history import Notebook, Wrote, now
from tests.support.processes import LOOPBACK

PROCESS = "registers"
"""The name of the file that they record to."""


class Registers:
    """The registers of every name."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._newest: dict[str, int] = {}

    def write(self, name: str, token: int, value: str, *, fenced: bool) -> bool:
        """Take a write, or refuse it."""
        accepted = not fenced or token >= self._newest.get(name, 0)
        if fenced and accepted:
            self._newest[name] = token
        self._notebook.write(Wrote(now(), fenced, name, token, value, accepted))
        return accepted

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while line := await reader.readline():
                writer.write(orjson.dumps(self.write(**orjson.loads(line))) + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # its client was killed
        finally:
            writer.close()


async def serve(directory: Path, port: int) -> None:
    """Serve the registers of a run until cancelled."""
    with Notebook(directory, PROCESS) as notebook:
        server = await asyncio.start_server(Registers(notebook).serve, LOOPBACK, port)
        async with server:
            await server.serve_forever()


class RegisterClient:
    """A connection to the registers, made when first needed. One write at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._one_at_a_time = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def write(self, name: str, token: int, value: str, *, fenced: bool) -> bool:
        """Whether the write was taken."""
        async with self._one_at_a_time:
            try:
                if self._streams is None:
                    self._streams = await asyncio.open_connection(LOOPBACK, self._port)
                reader, writer = self._streams
                writer.write(orjson.dumps({"name": name, "token": token, "value": value, "fenced": fenced}) + b"\n")
                return bool(orjson.loads(await reader.readline()))
            except BaseException:
                self.close()  # whose answer comes next would not be known
                raise

    def close(self) -> None:
        """Leave."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
