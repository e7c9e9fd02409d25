"""A session of the client beside a server that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Unpack

import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.unit.client.scripted import PlayedStream, ScriptedServer, scripted_server

if TYPE_CHECKING:
    from lockstream._context import AcquireOptions


class Play:
    """An open session, and the stream on which the test plays the server."""

    def __init__(self, server: ScriptedServer, session: lockstream.Session, stream: PlayedStream) -> None:
        self.server = server
        self.session = session
        self.stream = stream
        self.granted = session_pb2.Request()
        """The request of the lock that was granted last."""

    async def acquire(self, name: str, token: int = 7, **options: Unpack[AcquireOptions]) -> lockstream.Lock:
        """A lock that the server grants at once."""
        lock, self.granted = await asyncio.gather(self.session.acquire(name, **options), self.stream.grant(token))
        return lock

    async def cut(self) -> None:
        """The server ends the stream without a word."""
        self.stream.ended.set()

    async def resumed(self, *claims: session_pb2.Claim, ttl: float = 10) -> None:
        """The client comes back, and finds these claims."""
        self.stream = await self.server.stream()
        await self.stream.attach(ttl=ttl, claims=claims, action="resume", generation=2)


Opened = Callable[..., AbstractAsyncContextManager[Play]]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
def opened(server: ScriptedServer) -> Opened:
    """Opens sessions; the close of one that lives at the end is answered."""

    @asynccontextmanager
    async def opened(ttl: float = 10) -> AsyncIterator[Play]:
        async with lockstream.connect(server.target) as client:
            session = client.session()
            opening = asyncio.create_task(session.open())
            stream = await server.stream()
            await stream.attach(ttl=ttl)
            await opening
            play = Play(server, session, stream)
            yield play
            if session.ended is None:
                await asyncio.gather(play.stream.close(), session.close())

    return opened


@pytest.fixture
async def play(opened: Opened) -> AsyncIterator[Play]:
    """A session with a TTL of 10 s."""
    async with opened() as play:
        yield play
