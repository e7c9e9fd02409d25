"""Every connection of the cluster, by who talks to whom."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from tests.support.link import Door, Impairment, Link, Way, stop_listening
from tests.support.processes import LOOPBACK, free_port


class Network:
    """Links between named ends. A context manager, which stops listening on exit.

    A link is named by who dials and who is dialled; what is said over it goes both ways.
    """

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], Link] = {}
        self._listeners: list[asyncio.Server] = []
        self._looking: set[asyncio.Task[None]] = set()
        """Who it is that dials."""

    def __repr__(self) -> str:
        return f"Network({self._links})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await stop_listening(self._listeners)
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    async def connect(self, dialling: str, dialled: str, port: int) -> str:
        """Lay a link to the server at `port`, and return `host:port` to dial instead."""
        link = self._links[dialling, dialled] = Link(port)
        return await self._listen(lambda: Door(lambda _: link))

    async def connect_all(
        self, dialling: Iterable[str], dialled: str, port: int, caller: Callable[[int], Awaitable[str | None]]
    ) -> str:
        """The same for many who know only one address; `caller` names which it is by the port that it came from."""
        links = {name: Link(port) for name in dialling}
        self._links |= {(name, dialled): link for name, link in links.items()}

        async def take_up(transport: asyncio.Transport) -> None:
            link = links.get(await caller(transport.get_extra_info("peername")[1]) or "")
            if link is None:
                transport.abort()
            elif not transport.is_closing():
                link.accept(transport)

        def look(transport: asyncio.Transport) -> None:
            task = asyncio.ensure_future(take_up(transport))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)
            task.add_done_callback(lambda looked: transport.abort() if looked.cancelled() else None)

        return await self._listen(lambda: _Hall(look))

    async def _listen(self, door: Callable[[], asyncio.Protocol]) -> str:
        port = free_port()
        self._listeners.append(await asyncio.get_running_loop().create_server(door, LOOPBACK, port))
        return f"{LOOPBACK}:{port}"

    def link(self, dialling: str, dialled: str) -> Link:
        """The link over which one dials the other."""
        return self._links[dialling, dialled]

    def ways(self, speakers: Iterable[str], listeners: Iterable[str]) -> list[Way]:
        """Every way on which what `speakers` say reaches `listeners`, whoever dialled whom."""
        pairs = [(speaker, listener) for speaker in speakers for listener in listeners]
        up = [self._links[pair].up for pair in pairs if pair in self._links]
        down = [
            self._links[listener, speaker].down for speaker, listener in pairs if (listener, speaker) in self._links
        ]
        return up + down

    def between(self, some: Iterable[str], others: Iterable[str]) -> list[Link]:
        """Every link between these, whoever dialled whom."""
        sides = {(a, b) for a in some for b in others}
        return [link for (a, b), link in self._links.items() if (a, b) in sides or (b, a) in sides]

    @contextmanager
    def impaired(self, speakers: Iterable[str], listeners: Iterable[str], impairment: Impairment) -> Iterator[None]:
        """During the block, what `speakers` say reaches `listeners` late or never; not the other way round."""
        with ExitStack() as stack:
            for way in self.ways([*speakers], [*listeners]):
                stack.enter_context(way.impaired(impairment))
            yield

    @contextmanager
    def refused(self, some: Iterable[str], others: Iterable[str]) -> Iterator[None]:
        """During the block there is no connection between these."""
        with ExitStack() as stack:
            for link in self.between([*some], [*others]):
                stack.enter_context(link.refused())
            yield

    def heal(self) -> None:
        """End all harm on every link."""
        for link in self._links.values():
            link.heal()


class _Hall(asyncio.Protocol):
    """Where a connection waits, unread, until it is known whose it is."""

    def __init__(self, came: Callable[[asyncio.Transport], None]) -> None:
        self._came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._came(transport)
