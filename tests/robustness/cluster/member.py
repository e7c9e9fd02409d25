"""One etcd member of the cluster."""

from pathlib import Path

import grpc

from tests.robustness.cluster.etcd_admin import EtcdAdmin, MemberStatus
from tests.robustness.cluster.node import Node
from tests.robustness.cluster.programs import EtcdProgram
from tests.support.etcd import EtcdProcess


class Member(Node):
    """An etcd that keeps its ports and its data over kills and restarts.

    Args:
        name: its name in etcd's own membership as well.
        program: the etcd to run.
        directory: where its data and its log go.
        peer_port: where it listens for its peers, which do not dial it there but at its place in `peers`.
        peers: the peer address of every member, its own included, by name.
    """

    def __init__(
        self,
        name: str,
        program: EtcdProgram,
        directory: Path,
        peer_port: int,
        peers: dict[str, str],
    ) -> None:
        own_peer_address = f"http://{peers[name]}"
        self.etcd = EtcdProcess(
            directory,
            program=program.path,
            extra_args=[
                f"--name={name}",
                f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
                f"--initial-advertise-peer-urls={own_peer_address}",
                f"--initial-cluster={','.join(f'{each}=http://{address}' for each, address in peers.items())}",
            ],
        )
        super().__init__(name, self.etcd.process)
        self.endpoint = self.etcd.endpoint
        """`host:port` for clients, past the links of the cluster."""
        self.port = int(self.endpoint.rpartition(":")[2])
        self.admin = EtcdAdmin(self.endpoint)

    async def close(self) -> None:
        """End the connection that it is asked on."""
        await self.admin.close()

    async def status(self) -> MemberStatus | None:
        """What it thinks of itself; None when it does not answer."""
        try:
            return await self.admin.status()
        except grpc.aio.AioRpcError:
            return None

    async def healthy(self) -> bool:
        """Whether it answers a linearizable read within a second."""
        try:
            await self.admin.revision()
        except grpc.aio.AioRpcError:
            return False
        return True
