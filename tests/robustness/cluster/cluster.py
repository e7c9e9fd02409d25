"""etcd members and lock servers, started together, broken apart, and waited for."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from tests.robustness.cluster.callers import caller
from tests.robustness.cluster.member import Member
from tests.robustness.cluster.network import Network
from tests.robustness.cluster.node import Node
from tests.robustness.cluster.programs import EtcdProgram, newest_etcd
from tests.robustness.cluster.server import LockServer
from tests.support.processes import ProcessEndedError, free_port
from tests.support.waiting import eventually

AnyNode = TypeVar("AnyNode", Member, LockServer)

HEALTHY_SECONDS = 30.0
"""A cluster that nobody harms is healthy by then, on a slow machine too."""


class Cluster:
    """A cluster of processes on the loopback interface, healthy on entry of `async with` and gone on exit.

    Who reaches whom goes through `network`: `client-0`, `client-1`... are the links of clients to every server, and
    members and servers are called by their names, `etcd-0`... and `server-0`.... Looking at the cluster does not go
    through it, so what is cut off is still seen. Use it from the main thread (see `ChildProcess`), whose event loop
    carries every byte: whatever blocks it, blocks the network.

    Args:
        members: how many etcd members.
        servers: how many lock servers; each knows every member.
        etcd: the program of the members; None means the newest at hand.
        client_links: links of clients to each server.
        direct: servers reach members past the network, which then cannot part them, and costs less processor time.
        directory: where data and logs go; None means a temporary folder, deleted on exit.
        server_args: further flags of every `lockstreamd`.
    """

    def __init__(
        self,
        *,
        members: int = 3,
        servers: int = 2,
        etcd: EtcdProgram | None = None,
        client_links: int = 1,
        direct: bool = False,
        directory: Path | None = None,
        server_args: Sequence[str] = (),
    ) -> None:
        self.etcd = etcd or newest_etcd()
        """The program that the members run."""
        self.network = Network()
        self.members: tuple[Member, ...] = ()
        self.servers: tuple[LockServer, ...] = ()
        self.clients = tuple(f"client-{number}" for number in range(client_links))
        """The names of the clients' ends in the network."""
        self._member_names = [f"etcd-{number}" for number in range(members)]
        self._server_names = [f"server-{number}" for number in range(servers)]
        self._direct = direct
        self._directory = directory
        self._server_args = tuple(server_args)
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Cluster of {self.etcd}: {[*self.members, *self.servers]}>"

    @property
    def nodes(self) -> tuple[Member | LockServer, ...]:
        """Members and servers."""
        return (*self.members, *self.servers)

    async def __aenter__(self) -> Self:
        async with self._stack:
            directory = self._directory or Path(
                self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstream-cluster-"))
            )
            await self._stack.enter_async_context(self.network)
            self.members = await self._lay_members(directory)
            self.servers = tuple([await self._lay_server(name, directory) for name in self._server_names])
            for node in self.nodes:
                await node.start()
            await self.wait_until_healthy()
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def leader(self) -> Member:
        """The member that leads; waits for an election if need be.

        Raises:
            TimeoutError: none leads for 30 seconds.
        """
        found: list[Member] = []

        async def elected() -> bool:
            found[:] = await self._leading()
            return bool(found)

        await eventually(elected, f"a leader of {self!r}", timeout=HEALTHY_SECONDS)
        return found[0]

    async def followers(self) -> list[Member]:
        """The members that do not lead, those that are down included; waits for an election if need be."""
        leader = await self.leader()
        return [member for member in self.members if member is not leader]

    async def wait_until_healthy(self, timeout: float = HEALTHY_SECONDS) -> None:  # noqa: ASYNC109 - tells who is not
        """Wait until every member answers linearizable reads and every server serves.

        Raises:
            ProcessEndedError: one has ended by itself; the message has its log.
            TimeoutError: one was not healthy in time.
        """
        unhealthy: list[Member | LockServer] = []

        async def healthy() -> bool:
            for node in self.nodes:
                if not node.running:
                    raise ProcessEndedError(f"{node!r} has ended\n{_log_end(node)}")
            answers = await asyncio.gather(*(node.healthy() for node in self.nodes))
            unhealthy[:] = [node for node, well in zip(self.nodes, answers, strict=True) if not well]
            return not unhealthy

        try:
            await eventually(healthy, "the cluster healthy", timeout=timeout)
        except TimeoutError as error:
            logs = "\n".join(f"{node!r} is not:\n{_log_end(node)}" for node in unhealthy)
            raise TimeoutError(f"{error}\n{logs}") from None

    async def heal(self) -> None:
        """Mend every link, start and thaw every process; returns before they are healthy."""
        self.network.heal()
        for node in self.nodes:
            await node.start()
            await node.thaw()

    async def _leading(self) -> list[Member]:
        """The member that leads in the newest term that any knows of, if that is settled."""
        told = await asyncio.gather(*(member.status() for member in self.members))
        known = [(member, status) for member, status in zip(self.members, told, strict=True) if status is not None]
        newest = max((status.term for _, status in known), default=0)
        return [member for member, status in known if status.term == newest and status.leads]

    async def _lay_members(self, directory: Path) -> tuple[Member, ...]:
        names = self._member_names
        ports = {name: free_port() for name in names}
        peers = {
            name: await self.network.connect_all(
                [each for each in names if each != name], name, port, partial(self._caller, name)
            )
            for name, port in ports.items()
        }
        members = []
        for name in names:
            folder = _new_folder(directory, name)
            members.append(self._own(Member(name, self.etcd, folder, ports[name], peers)))
        return tuple(members)

    async def _lay_server(self, name: str, directory: Path) -> LockServer:
        endpoints = [
            member.endpoint if self._direct else await self.network.connect(name, member.name, member.port)
            for member in self.members
        ]
        server = self._own(LockServer(name, endpoints, _new_folder(directory, name), self._server_args))
        server.targets = tuple([await self.network.connect(each, name, server.port) for each in self.clients])
        return server

    def _own(self, node: AnyNode) -> AnyNode:
        """Let it end with the cluster."""
        self._stack.push_async_callback(node.close)
        self._stack.push_async_callback(node.kill)
        return node

    async def _caller(self, dialled: str, port: int) -> str | None:
        """Which member dials another; nobody does who dials one that is down, again and again: it takes long to see."""
        running = {member.name: member.process.pid for member in self.members if member.running}
        return await asyncio.to_thread(caller, port, running) if dialled in running else None


def _new_folder(directory: Path, name: str) -> Path:
    folder = directory / name
    folder.mkdir(parents=True)
    return folder


def _log_end(node: Node) -> str:
    return node.process.log_text()[-4_000:]
