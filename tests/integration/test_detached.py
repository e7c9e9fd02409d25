"""A client without a server: nothing takes longer than was asked for, and what it gave up is free in the end."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

import lockstream
import lockstream.sync
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess
from tests.support.waiters import SLACK_SECONDS, Stopwatch
from tests.support.waiting import eventually, until_queued

TTL = 10.0
"""Seconds. Whatever waited for the end of the lease would take much longer than `SLACK_SECONDS`."""


@pytest.fixture
async def proxy(server: ServerProcess) -> AsyncIterator[Proxy]:
    """The network between a client and the server."""
    async with Proxy(server.port) as proxy:
        yield proxy


async def cut_off(proxy: Proxy, session: lockstream.Session) -> None:
    await proxy.cut(refuse=True)
    await eventually(lambda: not session.attached, "the stream broke")


async def test_tries_and_waits_end_in_time(proxy: Proxy, client: lockstream.Client, name: str) -> None:
    async with client.lock(name), lockstream.connect(proxy.target, ttl=TTL) as cut, cut.session() as session:
        waiting = asyncio.create_task(session.acquire(name, owner="me"))
        await until_queued(client, name, 1)
        await cut_off(proxy, session)
        waiting.cancel()
        taken = Stopwatch()
        with pytest.raises(lockstream.ServerUnavailable):
            await session.try_lock(name)
        with pytest.raises(lockstream.ServerUnavailable):
            await session.acquire(name, owner="me", wait=0)
        assert taken.seconds < SLACK_SECONDS
        with pytest.raises(lockstream.WaitTimeout):
            await session.acquire(name, owner="me", wait=0.5)
        assert 0.5 <= taken.seconds < 0.5 + SLACK_SECONDS
        proxy.heal()
        await eventually(lambda: session.attached, "it is back")
        assert await session.try_lock(name) is None, "somebody else has it"


async def test_a_body_that_runs_out_of_time_is_left_in_time(proxy: Proxy, client: lockstream.Client, name: str) -> None:
    async with lockstream.connect(proxy.target, ttl=TTL) as cut, cut.session() as session:

        async def body() -> None:
            async with session.lock(name):
                await cut_off(proxy, session)
                await asyncio.Event().wait()

        taken = Stopwatch()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await body()
        assert taken.seconds < 0.5 + SLACK_SECONDS
        assert (await client.get_lock(name)).holders, "nobody could be told"
        proxy.heal()
        async with asyncio.timeout(TTL / 2):
            await client.wait_until_free(name)


async def test_a_thread_leaves_a_body_that_failed_in_time(proxy: Proxy, client: lockstream.Client, name: str) -> None:
    loop = asyncio.get_running_loop()

    def fail(session: lockstream.sync.Session) -> None:
        """Fail as soon as there is no server any more."""
        asyncio.run_coroutine_threadsafe(proxy.cut(refuse=True), loop).result()
        while True:
            session.try_lock(f"{name}/other")

    def body() -> float:
        with lockstream.sync.connect(proxy.target, ttl=TTL) as cut, cut.session() as session:
            taken = time.monotonic()
            with pytest.raises(lockstream.ServerUnavailable), session.lock(name):
                fail(session)
            took = time.monotonic() - taken
            loop.call_soon_threadsafe(proxy.heal)
            session.acquire(f"{name}/back")  # it waits for a server
            return took

    assert await asyncio.to_thread(body) < 2 * SLACK_SECONDS
    assert not (await client.get_lock(name, linearizable=True)).entries
