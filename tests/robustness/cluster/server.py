"""One lock server of the cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from tests.robustness.cluster.looking import CHANNEL_OPTIONS, LOOK_SECONDS
from tests.robustness.cluster.node import Node
from tests.support.server import ServerProcess


class LockServer(Node):
    """A `lockstreamd` that keeps its port over kills and restarts.

    Args:
        name: what it calls itself in session records as well.
        etcd: `host:port` of each member, as this server reaches it.
        directory: where its log goes.
        extra_args: further flags of `lockstreamd`.
    """

    def __init__(self, name: str, etcd: Sequence[str], directory: Path, extra_args: Sequence[str] = ()) -> None:
        self.server = ServerProcess(etcd, name=name, directory=directory, extra_args=extra_args)
        super().__init__(name, self.server.process)
        self.port = self.server.port
        self.target = self.server.target
        """`host:port` past the links of the cluster."""
        self.targets: tuple[str, ...] = ()
        """`host:port` for clients of each link to it; those on different links suffer apart."""
        self._channel = grpc.aio.insecure_channel(self.target, options=CHANNEL_OPTIONS)
        # The stub of the health package is not typed.
        self._check: Any = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    async def close(self) -> None:
        """End the connection that `healthy` asks on."""
        await self._channel.close()

    async def healthy(self) -> bool:
        """Whether its health service says SERVING, within a second."""
        try:
            reply = await self._check(health_pb2.HealthCheckRequest(), timeout=LOOK_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
