"""A process of the cluster which is killed, frozen, ended and started again."""

import asyncio

from tests.support.processes import ChildProcess

TERMINATE_SECONDS = 30.0
"""A process that was asked to end and has not by then is killed."""


class Node:
    """One process, driven without blocking the event loop, on which all links of the cluster run.

    Every step may be repeated and may meet any state, since faults overlap: to kill what is dead, or to thaw what runs,
    does nothing. Steps of one node come one after the other. Start it from the main thread (see `ChildProcess`).

    Args:
        name: what it is called in the network and in reports; unique in a cluster.
        process: the process, not started.
    """

    def __init__(self, name: str, process: ChildProcess) -> None:
        self.name = name
        self.process = process
        self._step = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.process!r}>"

    @property
    def running(self) -> bool:
        """Whether the process exists; a frozen one does."""
        return self.process.running

    async def start(self) -> None:
        """Start it unless it runs; returns before it serves anybody."""
        async with self._step:
            if not self.process.running:
                self.process.start()

    async def kill(self) -> None:
        """SIGKILL it."""
        async with self._step:
            await asyncio.to_thread(self.process.kill)

    async def freeze(self) -> None:
        """SIGSTOP it: its connections stay open, and it does nothing."""
        async with self._step:
            if self.process.running:
                await asyncio.to_thread(self.process.freeze)

    async def thaw(self) -> None:
        """SIGCONT it."""
        async with self._step:
            if self.process.running:
                self.process.thaw()

    async def terminate(self) -> None:
        """SIGTERM it and wait for its end; it is thawed for that."""
        async with self._step:
            await asyncio.to_thread(self.process.stop, TERMINATE_SECONDS)

    async def restart(self) -> None:
        """SIGKILL it and start it again."""
        await self.kill()
        await self.start()
