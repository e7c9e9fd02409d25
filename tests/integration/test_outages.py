"""What is out of reach at the start, and how retries go on and end."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess
from tests.support.waiters import SLACK_SECONDS, Stopwatch
from tests.support.waiting import eventually
from tests.support.wire import Wire, reason

DIAL_TIMEOUT = 3.0
"""The server's default, in seconds."""
SHORT_DIAL_TIMEOUT = 0.5
"""Where the default is not the subject."""


@pytest.fixture
def etcd_to_come() -> Iterator[EtcdProcess]:
    """An etcd that has its address and does not run yet."""
    etcd = EtcdProcess()
    try:
        yield etcd
    finally:
        etcd.close()


@pytest.fixture
def early_server(etcd_to_come: EtcdProcess) -> Iterator[ServerProcess]:
    """A server that was started before its etcd."""
    server = ServerProcess(etcd_to_come.endpoint)
    try:
        server.start(serving=False)
        yield server
        server.stop()
        server.assert_no_traceback()
    finally:
        server.close()


@pytest.fixture
async def proxy(server: ServerProcess) -> AsyncIterator[Proxy]:
    """The network between a client and the server."""
    async with Proxy(server.port) as proxy:
        yield proxy


async def test_without_etcd_an_open_is_store_unavailable_and_with_it_the_server_becomes_healthy(
    early_server: ServerProcess, etcd_to_come: EtcdProcess, name: str
) -> None:
    """V1."""
    async with Wire(early_server.target) as wire:
        assert not early_server.serving()
        asked = Stopwatch()
        reply = await wire.ask(session_pb2.Open())
        assert reason(reply.error) == "STORE_UNAVAILABLE"
        assert asked.seconds <= DIAL_TIMEOUT + SLACK_SECONDS / 2
        etcd_to_come.start()
        early_server.wait_until_serving()
        assert (await wire.open()).session_id
    async with lockstream.connect(early_server.target) as client, client.lock(name) as lock:
        assert lock.held


async def test_an_etcd_that_hangs_is_store_unavailable_too(own_etcd: EtcdProcess, start_server: StartServer) -> None:
    """V1. On the wire, and by the client library, which tries until its own time is over."""
    server = start_server(own_etcd.endpoint, extra_args=[f"--etcd-dial-timeout={SHORT_DIAL_TIMEOUT}"])
    async with Wire(server.target) as wire, lockstream.connect(server.target, connect_timeout=0.7) as client:
        own_etcd.freeze()
        asked = Stopwatch()
        reply = await wire.ask(session_pb2.Open())
        assert reason(reply.error) == "STORE_UNAVAILABLE"
        assert asked.seconds <= SHORT_DIAL_TIMEOUT + SLACK_SECONDS / 2
        with pytest.raises(lockstream.StoreUnavailable) as raised:
            await client.session().open()
        assert raised.value.retryable
        assert not raised.value.outcome_settled
        own_etcd.thaw()
        assert (await wire.open()).session_id


async def test_closing_ends_the_retries_of_a_session_at_once(proxy: Proxy, name: str) -> None:
    """V3. However long the pause before the next attempt would be."""
    async with lockstream.connect(proxy.target, backoff_min=20, backoff_max=20, ttl=60) as client:
        session = client.session()
        await session.open()
        lock = await session.acquire(name)
        await proxy.cut(refuse=True)
        attempts = len(proxy.asked_at)
        await eventually(lambda: len(proxy.asked_at) > attempts, "the client tries to come back")
        closing = Stopwatch()
        await session.close()
        assert closing.seconds < SLACK_SECONDS
        assert not lock.held


async def test_cancelling_an_open_ends_its_retries_at_once(proxy: Proxy) -> None:
    """V3."""
    await proxy.cut(refuse=True)
    async with lockstream.connect(proxy.target, connect_timeout=60, backoff_min=20, backoff_max=20) as client:
        opening = asyncio.create_task(client.session().open())
        await eventually(lambda: len(proxy.asked_at) > 0, "the client tries")
        cancelled = Stopwatch()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert cancelled.seconds < SLACK_SECONDS
