"""A TCP proxy in front of a server, to lose what is said and to break connections."""

import asyncio
from typing import Self

from tests.support.link import HELD, Door, Link, stop_listening
from tests.support.processes import LOOPBACK


class Proxy(Link):
    """Passes bytes on to `port` of the loopback interface. A context manager; clients use `target`."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.target = ""
        """`host:port` of the proxy."""

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.get_running_loop().create_server(lambda: Door(lambda _: self), LOOPBACK, 0)
        self.target = f"{LOOPBACK}:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await stop_listening([self._listener])
        await self.close()

    def mute(self) -> None:
        """From now on nothing that the server says arrives; what clients say still does."""
        self.down.impair(HELD)

    def pause(self) -> None:
        """From now on nothing arrives in either direction, and no connection ends: a pulled cable."""
        self.up.impair(HELD)
        self.down.impair(HELD)

    async def cut(self, *, refuse: bool = False) -> None:
        """Break all connections, with whatever was not delivered.

        New ones are passed on in full, or with `refuse` broken at once until `heal`.
        """
        self.break_connections()
        self.heal()
        if refuse:
            self.refuse()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next round
