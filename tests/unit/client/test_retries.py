"""When a session tries again to reach a server, seen from the server."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import lockstream
from lockstream import ErrorReason
from lockstream.v1 import session_pb2
from tests.unit.client.scripted import status

if TYPE_CHECKING:
    from tests.unit.client.scripted import ScriptedServer


async def refuse(server: ScriptedServer, action: str) -> float:
    """Refuse the next greeting, for now, and tell when it came."""
    stream = await server.stream()
    greeting = await stream.expect(action)
    came_at = asyncio.get_running_loop().time()
    later = status(ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False)
    await stream.reply(greeting, session_pb2.Reply(error=later))
    stream.ended.set()
    return came_at


def check_doubling(moments: list[float], minimum: float, maximum: float) -> None:
    """The pauses between these are at least the jittered delays that double from one bound to the other."""
    ceiling = minimum
    for earlier, later in pairwise(moments):
        assert ceiling / 2 <= later - earlier < ceiling + 0.5  # a busy machine adds what it likes
        ceiling = min(2 * ceiling, maximum)


async def test_opening_is_tried_again_after_pauses_that_double(server: ScriptedServer) -> None:
    """V3."""
    async with lockstream.connect(server.target, backoff_min=0.05, backoff_max=0.2) as client:
        session = client.session()
        opening = asyncio.create_task(session.open())
        check_doubling([await refuse(server, "open") for _ in range(6)], 0.05, 0.2)
        stream = await server.stream()
        await stream.attach()
        await opening
        await asyncio.gather(stream.close(), session.close())


async def test_resuming_is_tried_again_after_pauses_that_begin_anew_each_time(server: ScriptedServer) -> None:
    """V3."""
    async with lockstream.connect(server.target, backoff_min=0.05, backoff_max=10) as client:
        session = client.session()
        opening = asyncio.create_task(session.open())
        stream = await server.stream()
        await stream.attach()
        await opening
        for generation in (2, 3):
            stream.ended.set()
            check_doubling([await refuse(server, "resume") for _ in range(4)], 0.05, 10)
            stream = await server.stream()
            await stream.attach(action="resume", generation=generation)
        await asyncio.gather(stream.close(), session.close())


async def test_closing_ends_a_pause_and_is_said_to_the_server_at_once(server: ScriptedServer) -> None:
    """V3."""
    async with lockstream.connect(server.target, backoff_min=60, backoff_max=60) as client:
        session = client.session(ttl=60)
        opening = asyncio.create_task(session.open())
        stream = await server.stream()
        await stream.attach(ttl=60)
        await opening
        stream.ended.set()
        await refuse(server, "resume")
        closing = asyncio.create_task(session.close())
        async with asyncio.timeout(1):
            stream = await server.stream()
            await stream.attach(action="resume", generation=2)
            await stream.close()
            await closing


async def test_closing_gives_up_when_the_server_refuses_once_more(server: ScriptedServer) -> None:
    """V3."""
    async with lockstream.connect(server.target, backoff_min=60, backoff_max=60) as client:
        session = client.session(ttl=60)
        opening = asyncio.create_task(session.open())
        stream = await server.stream()
        await stream.attach(ttl=60)
        await opening
        stream.ended.set()
        await refuse(server, "resume")
        async with asyncio.timeout(1):
            await asyncio.gather(refuse(server, "resume"), session.close())
        assert isinstance(session.ended, lockstream.WrongState)


async def test_an_open_that_runs_out_of_time_raises_what_a_server_said(server: ScriptedServer) -> None:
    """V1. Not that the last attempt, cut short by the end of the time, had no answer."""
    async with lockstream.connect(server.target, connect_timeout=0.5) as client:
        opening = asyncio.create_task(client.session().open())
        await refuse(server, "open")
        silent = await server.stream()
        with pytest.raises(lockstream.StoreUnavailable):
            await opening
        silent.ended.set()
