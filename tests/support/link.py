"""A network between clients and a server that can be slow, lose what is said, and break.

It carries the bytes of TCP connections, and so may do to them only what a network does: bring them late, all of them or
none from some point on, but never with a gap. That is why a connection which lost bytes breaks once they could pass.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
_END = b""
"""In the place of bytes: the connection ended there."""
_IN_FLIGHT_BYTES = 4 * 1024 * 1024
"""So much may be under way on one connection in one direction before its sender has to wait."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What is wrong with one way of a link; several add up to the worst of them."""

    holds: bool = False
    """Nothing arrives, the end of a connection included; all of it does later."""
    drops: bool = False
    """What is said is lost without a word."""
    delay: float = 0.0
    """Seconds by which everything arrives later."""


HELD = Impairment(holds=True)
DROPPED = Impairment(drops=True)


class Way:
    """One direction of a link, with what is wrong with it at the moment."""

    def __init__(self) -> None:
        self._impairments: list[Impairment] = []
        self.ends: set[End] = set()
        """The ends of connections that say something this way."""
        self.holds, self.drops, self.delay = False, False, 0.0

    def __repr__(self) -> str:
        return f"Way({', '.join(map(repr, self._impairments))})"

    @contextmanager
    def impaired(self, impairment: Impairment) -> Iterator[None]:
        """Do this harm during the block, beside whatever else is wrong."""
        self.impair(impairment)
        try:
            yield
        finally:
            if impairment in self._impairments:  # else `heal` has come before
                self._impairments.remove(impairment)
            self._changed()

    def impair(self, impairment: Impairment) -> None:
        """Do this harm until `heal`."""
        self._impairments.append(impairment)
        self._changed()

    def heal(self) -> None:
        """End all harm."""
        self._impairments.clear()
        self._changed()

    def _changed(self) -> None:
        self.holds = any(each.holds for each in self._impairments)
        self.drops = any(each.drops for each in self._impairments)
        self.delay = max((each.delay for each in self._impairments), default=0.0)
        for end in [*self.ends]:
            end.way_changed()


class Link:
    """Between any number of clients and the server at `port` of the loopback interface."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.up = Way()
        """What clients say."""
        self.down = Way()
        """What the server says."""
        self.asked_at: list[float] = []
        """When each connection was asked for, those refused included, by the event loop's clock."""
        self._refusals = 0
        self.connections: set[Connection] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} up={self.up!r} down={self.down!r} refusals={self._refusals}>"

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Break all connections, and during the block each new one at once."""
        self._refusals += 1
        self.break_connections()
        try:
            yield
        finally:
            self._refusals = max(0, self._refusals - 1)  # `heal` may have come before

    def refuse(self) -> None:
        """Break all connections, and each new one at once until `heal`."""
        self._refusals += 1
        self.break_connections()

    def break_connections(self) -> None:
        """Break them with whatever was not delivered."""
        for connection in [*self.connections]:
            connection.abort()

    async def close(self) -> None:
        """Break all connections; no socket of theirs is open when this returns."""
        dialling = [connection.dialling for connection in self.connections]
        self.break_connections()
        await asyncio.gather(*dialling, return_exceptions=True)
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next round

    def heal(self) -> None:
        """Pass everything on again, what was held back in between included."""
        self._refusals = 0
        self.up.heal()
        self.down.heal()

    def accept(self, transport: asyncio.Transport) -> None:
        """Take up a client's connection."""
        self.asked_at.append(asyncio.get_running_loop().time())
        if self._refusals:
            transport.abort()
        else:
            self.connections.add(Connection(self, transport))


class Connection:
    """One connection over a link, which this process dials on for the client that came."""

    def __init__(self, link: Link, transport: asyncio.Transport) -> None:
        self._link = link
        self.client, self.server = End(self, link.up), End(self, link.down)
        self.client.other, self.server.other = self.server, self.client
        transport.set_protocol(self.client)
        self.client.connection_made(transport)
        self.dialling = asyncio.ensure_future(self._dial())
        """Done once there is a connection to the server, or will be none."""

    def abort(self) -> None:
        """Break it, with whatever was not delivered."""
        self.dialling.cancel()
        for end in (self.client, self.server):
            end.abort()
        self._link.connections.discard(self)

    def lost(self) -> None:
        """One end of it is gone; with the other gone too, nobody is left to tell."""
        if self.client.gone and self.server.gone:
            self.abort()

    async def _dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, LOOPBACK, self._link.port)
        except OSError:  # a server that is away is for the client to find out
            self.abort()


class End(asyncio.Protocol):
    """One end of a connection: what it says goes its way to the other end."""

    other: "End"

    def __init__(self, connection: Connection, way: Way) -> None:
        self._connection = connection
        self._way = way
        self._transport: asyncio.Transport | None = None
        self._under_way: deque[tuple[float, bytes]] = deque()  # when it is due, and what
        self._under_way_bytes = 0
        self._torn = False
        self.full = False
        """Whether this end takes no more for now."""
        self._timer: asyncio.TimerHandle | None = None
        self.gone = False
        """Whether the connection has ended here."""
        way.ends.add(self)

    @property
    def connected(self) -> bool:
        """Whether there is a connection to write to, if only one that has ended."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.way_changed()
        self.other.way_changed()

    def data_received(self, data: bytes) -> None:
        if self._way.drops:
            self._torn = True
        elif self._under_way or self._way.holds or self._way.delay or not self.other.connected:
            self._under_way.append((asyncio.get_running_loop().time() + self._way.delay, data))
            self._under_way_bytes += len(data)
            self.way_changed()
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is not passed on
        self.gone = True
        self.data_received(_END)
        self._connection.lost()

    def pause_writing(self) -> None:
        self.full = True
        self.other.regulate()

    def resume_writing(self) -> None:
        self.full = False
        self.other.regulate()

    def way_changed(self) -> None:
        """Deliver whatever can be delivered by now."""
        if self._torn and not self._way.drops:
            self._connection.abort()
            return
        now = asyncio.get_running_loop().time()
        while self._under_way and not self._way.holds and self.other.connected:
            due, data = self._under_way[0]
            if due > now and self._way.delay:
                self._wait_until(due)
                break
            self._under_way.popleft()
            self._under_way_bytes -= len(data)
            self.other.write(data)
        self.regulate()

    def write(self, data: bytes) -> None:
        """Pass on what the other end said."""
        if self._transport is None or self._transport.is_closing():
            return
        if data == _END:
            self._transport.close()
        else:
            self._transport.write(data)

    def regulate(self) -> None:
        """Read on, or let the sender wait as it would if the network took no more."""
        if self._transport is None:
            return
        blocked = (
            self._way.holds or not self.other.connected or self.other.full or self._under_way_bytes > _IN_FLIGHT_BYTES
        )
        if blocked:
            self._transport.pause_reading()
        elif not self.gone:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Break the connection here."""
        self._under_way.clear()
        self._way.ends.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _wait_until(self, due: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._is_due)

    def _is_due(self) -> None:
        self._timer = None
        self.way_changed()


class Door(asyncio.Protocol):
    """Takes up one connection. `choose` names its link by the port that the client came from; without one it breaks."""

    def __init__(self, choose: Callable[[int], Link | None]) -> None:
        self._choose = choose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        link = self._choose(transport.get_extra_info("peername")[1])
        if link is None:
            transport.abort()
        else:
            link.accept(transport)


async def stop_listening(listeners: Iterable[asyncio.Server]) -> None:
    """Close them; whatever connection they had accepted has come to its protocol, such as a `Door`, when this returns.

    An `asyncio.Server` forgets a connection that it has accepted when it is closed before the event loop has made the
    connection's transport, a round later, and one more round passes until the protocol is told.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        for listening in listener.sockets:
            loop.remove_reader(listening)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for listener in listeners:
        listener.close()
