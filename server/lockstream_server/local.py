"""A server in this process, on a store in this process: for `local:` clients and users' own tests."""

from pathlib import Path
from tempfile import TemporaryDirectory

from lockstream_server.app import Server
from lockstream_server.settings import Settings
from lockstream_server.store.memory import MemoryStore


class LocalServer:
    """A running server that keeps everything in memory. It listens on a Unix socket of its own."""

    def __init__(self, server: Server, store: MemoryStore, folder: "TemporaryDirectory[str]", target: str) -> None:
        self.target = target
        """Where clients connect to."""
        self.store = store
        self._server = server
        self._folder = folder

    async def stop(self) -> None:
        """End every stream and forget everything."""
        await self._server.stop()
        await self.store.close()
        self._folder.cleanup()


async def start_local(settings: Settings | None = None) -> LocalServer:
    """Start a server in the running event loop. Leases end by that loop's clock."""
    folder = TemporaryDirectory(prefix="lockstream-")
    store = MemoryStore()
    server = Server(store, settings or Settings(server_name="local"))
    [target] = await server.start([f"unix:{Path(folder.name, 'lockstream.sock')}"])
    return LocalServer(server, store, folder, target)
