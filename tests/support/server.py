"""A lock server as a child process."""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2

from tests.support.processes import LOOPBACK, ChildProcess, accepts_connections, free_port

START_TIMEOUT_SECONDS = 15.0
_TRACEBACK = "Traceback (most recent call last)"


class ServerProcess:
    """One `lockstreamd` which keeps its port over stops, kills and restarts.

    As a context manager it starts on entry and stops on exit. Instances are independent: any number
    can run side by side, on one etcd or on several. Start it from the main thread (see `ChildProcess`).

    Args:
        etcd: `host:port` of one etcd endpoint or of several.
        name: what it calls itself in session records; None means after its port.
        directory: where its log goes; None means a temporary folder of its own.
        extra_args: further flags of `lockstreamd`, for instance `("--outbox-events", "16")`.
    """

    def __init__(
        self,
        etcd: str | Sequence[str],
        *,
        name: str | None = None,
        directory: Path | None = None,
        extra_args: Sequence[str] = (),
    ) -> None:
        self._temporary = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="lockstream-server-")
            directory = Path(self._temporary.name)
        self.port = free_port()
        self.target = f"{LOOPBACK}:{self.port}"
        """`host:port` for `lockstream.connect` and for gRPC channels."""
        self.name = name or f"server-{self.port}"
        """What it calls itself in session records."""
        self.process = ChildProcess(
            [
                *(sys.executable, "-m", "lockstream_server"),
                f"--listen={self.target}",
                f"--etcd-endpoints={etcd if isinstance(etcd, str) else ','.join(etcd)}",
                f"--server-name={self.name}",
                "--log-format=json",
                *extra_args,
            ],
            log=directory / "lockstreamd.log",
            # What the developer has set for servers of their own is not for this one.
            env={name: value for name, value in os.environ.items() if not name.startswith("LOCKSTREAM_")},
        )

    def __repr__(self) -> str:
        return f"<ServerProcess {self.target} {self.process!r}>"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        return self.process.pid

    def start(self, *, serving: bool = True) -> None:
        """Start it and wait until its health is SERVING; with `serving=False`, until it listens.

        Raises:
            ProcessEndedError: it ended instead; the message has its log.
            TimeoutError: it did not get there in time.
        """
        self.process.start()
        if serving:
            self.wait_until_serving()
        else:
            self.process.wait_until(
                lambda: accepts_connections(self.port), timeout=START_TIMEOUT_SECONDS, what=f"{self!r} listening"
            )

    def stop(self) -> None:
        """SIGTERM it and wait until it has drained and ended."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP it: connections stay open and nothing is answered."""
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT it."""
        self.process.thaw()

    def restart(self) -> None:
        """Kill it if it runs, and start it on the same port."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Stop it and delete its temporary folder."""
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def serving(self) -> bool:
        """Whether its health service says SERVING, within a second."""
        if not accepts_connections(self.port):
            return False
        with grpc.insecure_channel(self.target) as channel:
            # The stub of the health package is not typed.
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                return (
                    check(health_pb2.HealthCheckRequest(), timeout=1).status == health_pb2.HealthCheckResponse.SERVING
                )
            except grpc.RpcError:
                return False

    def wait_until_serving(self, timeout: float = START_TIMEOUT_SECONDS) -> None:
        """Wait until `serving()`; raises as `start` does."""
        self.process.wait_until(self.serving, timeout=timeout, what=f"{self!r} serving")

    def log_text(self) -> str:
        """What it has logged so far, over all its starts."""
        return self.process.log_text()

    def log_records(self) -> list[dict[str, Any]]:
        """The same as records; lines which are no record, such as gRPC's own, are left out."""
        return [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{")]

    def assert_no_traceback(self) -> None:
        """Fail when it logged an exception that nobody handled: no input and no outage may do that."""
        text = self.log_text()
        assert _TRACEBACK not in text, text
