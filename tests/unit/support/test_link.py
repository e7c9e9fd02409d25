"""What the network of the tests does to connections, and what it must not."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.link import DROPPED, HELD, Impairment, stop_listening
from tests.support.processes import LOOPBACK
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

SILENCE_SECONDS = 0.1
"""What has not come by then on the loopback interface is held up."""
LATE_SECONDS = 0.2
LATE = Impairment(delay=LATE_SECONDS)


class Echo:
    """A server that says again what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.begun, self.ended = 0, 0
        """How many connections have."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.begun += 1
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                self.heard += data
                writer.write(data)
                await writer.drain()
        self.ended += 1
        writer.close()

    async def hears(self, words: bytes) -> None:
        await eventually(lambda: self.heard == words, f"the server hears {words[:20]!r}", timeout=5)


class Client:
    """A connection to it over the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def say(self, words: bytes) -> None:
        self.writer.write(words)

    async def hears(self, words: bytes) -> None:
        async with asyncio.timeout(5):
            assert await self._reader.readexactly(len(words)) == words

    async def hears_nothing(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SILENCE_SECONDS):
                await self._reader.read(1)

    async def is_cut_off(self) -> None:
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                assert await self._reader.read() == b""


Dial = Callable[..., Awaitable[Client]]


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    listener = await asyncio.start_server(echo.serve, LOOPBACK, 0)
    async with Proxy(listener.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    await stop_listening([listener])
    await eventually(lambda: echo.begun == echo.ended, "no connection is left over")


@pytest.fixture
async def dial(proxy: Proxy) -> AsyncIterator[Dial]:
    """Begins connections."""
    clients: list[Client] = []

    async def dial(target: str = proxy.target) -> Client:
        host, _, port = target.partition(":")
        clients.append(Client(*await asyncio.open_connection(host, int(port))))
        return clients[-1]

    yield dial
    for client in clients:
        client.writer.close()
        with suppress(ConnectionError):
            await client.writer.wait_closed()


@pytest.fixture
async def client(dial: Dial) -> Client:
    """A connection over which something has gone both ways."""
    client = await dial()
    client.say(b"hello ")
    await client.hears(b"hello ")
    return client


async def test_what_was_held_arrives_in_the_end(proxy: Proxy, echo: Echo, client: Client) -> None:
    with proxy.up.impaired(HELD):
        client.say(b"world")
        await client.hears_nothing()
        assert echo.heard == b"hello "
    await client.hears(b"world")


async def test_one_way_is_held_and_not_the_other(proxy: Proxy, echo: Echo, client: Client) -> None:
    with proxy.down.impaired(HELD):
        client.say(b"world")
        await echo.hears(b"hello world")
        await client.hears_nothing()
    await client.hears(b"world")


async def test_a_connection_that_lost_something_breaks_and_others_do_not(
    proxy: Proxy, echo: Echo, client: Client, dial: Dial
) -> None:
    bystander = await dial()
    with proxy.up.impaired(DROPPED):
        client.say(b"world")
        await client.hears_nothing()
    await client.is_cut_off()
    bystander.say(b"again")
    await bystander.hears(b"again")
    assert echo.heard == b"hello again", "never with a gap, and never late"


async def test_everything_is_late_and_in_order(proxy: Proxy, client: Client) -> None:
    loop = asyncio.get_running_loop()
    with proxy.up.impaired(LATE), proxy.down.impaired(LATE):
        said = loop.time()
        for word in (b"one ", b"two ", b"three"):
            client.say(word)
            await asyncio.sleep(0)
        await client.hears(b"one two three")
        assert loop.time() - said >= 2 * LATE_SECONDS
        client.say(b"four")
        await client.hears_nothing()
    async with asyncio.timeout(LATE_SECONDS):  # healed, nothing has to wait any more
        await client.hears(b"four")


async def test_harm_adds_up_and_each_part_heals_by_itself(proxy: Proxy, client: Client) -> None:
    with proxy.up.impaired(HELD):
        with proxy.up.impaired(HELD), proxy.up.impaired(LATE):
            client.say(b"world")
        await client.hears_nothing()
    await client.hears(b"world")


async def test_healing_everything_ends_what_is_still_being_done(proxy: Proxy, client: Client, dial: Dial) -> None:
    with proxy.up.impaired(HELD), proxy.refused():
        proxy.heal()
        again = await dial()
        again.say(b"world")
        await again.hears(b"world")
    assert not proxy.up.holds


async def test_the_end_of_a_connection_travels_as_its_bytes_do(proxy: Proxy, echo: Echo, client: Client) -> None:
    with proxy.up.impaired(HELD):
        client.say(b"world")
        client.writer.close()
        with pytest.raises(TimeoutError):
            await eventually(lambda: echo.ended > 0, "told of the end", timeout=SILENCE_SECONDS)
        assert (echo.heard, echo.ended) == (b"hello ", 0)
    await echo.hears(b"hello world")
    await eventually(lambda: echo.ended == 1, "the server is told of the end", timeout=5)


async def test_connections_break_and_new_ones_are_refused(proxy: Proxy, echo: Echo, client: Client, dial: Dial) -> None:
    with proxy.refused():
        await client.is_cut_off()
        await (await dial()).is_cut_off()
    assert len(proxy.asked_at) == 2
    again = await dial()
    again.say(b"again")
    await again.hears(b"again")


async def test_a_connection_begun_under_harm_is_carried_once_healed(proxy: Proxy, dial: Dial) -> None:
    with proxy.up.impaired(HELD), proxy.down.impaired(HELD):
        client = await dial()
        client.say(b"hello")
        await client.hears_nothing()
    await client.hears(b"hello")


async def test_who_is_not_heard_has_to_stop_talking(proxy: Proxy, client: Client) -> None:
    """As in a real network, where the sender's buffers fill up; and nothing is lost of it."""
    much = bytes(range(256)) * 65_536  # 16 MiB, more than the kernel takes
    with proxy.up.impaired(HELD):
        client.say(much)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SILENCE_SECONDS):
                await client.writer.drain()
    await client.hears(much)


async def test_a_server_that_is_away_is_for_the_client_to_find_out(dial: Dial) -> None:
    async with Proxy(1) as away:
        await (await dial(away.target)).is_cut_off()
        assert not away.connections


@pytest.mark.skipif(sys.platform != "linux", reason="counts its own file descriptors")
@pytest.mark.parametrize("rounds", range(6))
async def test_a_connection_that_comes_at_the_very_end_is_closed_too(rounds: int) -> None:
    """However many rounds of the event loop it has been through by then."""
    before = open_files()
    with socket.create_server((LOOPBACK, 0)) as server, socket.socket() as client:
        async with Proxy(server.getsockname()[1]) as proxy:
            client.connect((LOOPBACK, int(proxy.target.rpartition(":")[2])))
            for _ in range(rounds):
                await asyncio.sleep(0)
    assert open_files() == before


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
