"""A private etcd of one member as a child of the server, for `lockstreamd --dev`."""

import asyncio
import contextlib
import http.client
import json
import logging
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from pathlib import Path
from typing import Self

from lockstream_server.etcd_program import EmbeddedEtcdError, find_etcd, is_script

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_LOG_TAIL_LINES = 20
_LAUNCHER = Path(__file__).with_name("die_with_parent.py")

_log = logging.getLogger(__name__)


class EmbeddedEtcd:
    """An etcd process that lives as long as an `async with` block, and no longer than this process.

    The kernel ties the child to the thread that starts it (on Linux): enter the block in a thread
    that lives as long as the child should, usually the main thread.

    Args:
        binary: the program; None means `find_etcd()`.
        data_dir: where its data is kept; None means a temporary folder deleted on exit (it stays
            behind when this process is killed with SIGKILL).

    Raises:
        EmbeddedEtcdError: on entry, when it is not found, ends, or is not healthy in 20 seconds.
    """

    def __init__(self, binary: Path | None = None, data_dir: Path | None = None) -> None:
        self._binary = binary
        self._data_dir = data_dir
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._process: Process | None = None
        self._forwarder: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=_LOG_TAIL_LINES)
        self._port, self._peer_port = _free_ports(2)

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self._process else "not started"
        return f"<EmbeddedEtcd {self.endpoint} {state}>"

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return f"{_LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._started.pid

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stop()

    async def died(self) -> EmbeddedEtcdError:
        """Wait until the child ends, and return what to say about it. It never starts again."""
        await self._started.wait()
        await self._drain_log()
        return self._ended()

    @property
    def _started(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self!r}: enter it first")
        return self._process

    async def _start(self) -> None:
        binary = await asyncio.to_thread(find_etcd, self._binary)
        if self._data_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="lockstream-etcd-")
            data_dir = Path(self._temporary.name)
        else:
            data_dir = self._data_dir
        try:
            # The kernel kills only the child itself, so a script gets a watcher beside it.
            kernel = sys.platform == "linux" and not is_script(binary)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_LAUNCHER)),
                *("kernel" if kernel else "pipe", str(os.getpid()), str(binary)),
                *self._flags(data_dir),
                stdin=DEVNULL if kernel else PIPE,
                stdout=DEVNULL,
                stderr=PIPE,
                # Settings of another etcd in the environment are not for this one.
                env={name: v for name, v in os.environ.items() if not name.startswith("ETCD_")},
                start_new_session=True,  # Ctrl-C is for the server, which then stops etcd
            )
        except OSError as error:
            raise EmbeddedEtcdError(f"etcd cannot be started: {error}") from None
        self._forwarder = asyncio.create_task(self._forward_log(self._process))
        _log.debug("private etcd started", extra={"binary": str(binary), "pid": self.pid})
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._until_healthy()
        except TimeoutError:
            raise EmbeddedEtcdError(f"etcd was not healthy within {_START_SECONDS:g} s{self._log_tail()}") from None

    async def _until_healthy(self) -> None:
        while not await asyncio.to_thread(self._healthy):
            if self._started.returncode is not None:
                await self._drain_log()
                raise self._ended()
            await asyncio.sleep(_POLL_SECONDS)

    def _healthy(self) -> bool:
        """Whether it answers a linearizable read within a second."""
        connection = http.client.HTTPConnection(_LOOPBACK, self._port, timeout=1)
        try:
            connection.request("GET", "/health")
            return bool(json.load(connection.getresponse())["health"] == "true")
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return False
        finally:
            connection.close()

    async def _stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                _log.warning("private etcd does not stop, killing it", extra={"pid": self.pid})
            # The child leads a process group: nothing that a script started stays behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
            await self._drain_log()
        if self._temporary is not None:
            self._temporary.cleanup()

    async def _drain_log(self) -> None:
        if self._forwarder is not None:
            await asyncio.wait([self._forwarder], timeout=1)  # ends with the child's last output
            self._forwarder.cancel()

    async def _forward_log(self, process: Process) -> None:
        """Pass its log on, so that its pipe never fills up; a line may have any length."""
        if process.stderr is None:
            raise RuntimeError("the child was started without a pipe for its log")
        rest = b""
        while chunk := await process.stderr.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                self._tail.append(text)
                _log.debug("etcd: %s", text)

    def _ended(self) -> EmbeddedEtcdError:
        return EmbeddedEtcdError(f"the private etcd ended with code {self._started.returncode}{self._log_tail()}")

    def _log_tail(self) -> str:
        return "".join(f"\n  {line}" for line in self._tail)

    def _flags(self, data_dir: Path) -> list[str]:
        client, peer = f"http://{self.endpoint}", f"http://{_LOOPBACK}:{self._peer_port}"
        return [
            "--name=lockstream",
            f"--data-dir={data_dir}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=lockstream={peer}",
            "--auto-compaction-retention=1h",  # history grows without end otherwise
            "--logger=zap",
            "--log-outputs=stderr",
            "--log-level=info",
        ]


def _free_ports(count: int) -> list[int]:
    """Different TCP ports of the loopback interface on which nothing listens."""
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
