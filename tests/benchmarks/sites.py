"""The server processes of one system: an etcd of its own, and what is in front of it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.support.etcd import EtcdProcess


class Site:
    """A system's running servers.

    Attributes:
        system: the system's name.
        etcd: its etcd.
        server: the process that serves its locks.
        target: `host:port` at which it does.
    """

    def __init__(self, system: str, etcd: EtcdProcess) -> None:
        self.system = system
        self.etcd = etcd
        self.server = etcd.process
        self.target = etcd.endpoint


@contextmanager
def running_sites(systems: Sequence[str]) -> Iterator[dict[str, Site]]:
    """Fresh servers for each of the systems, all at once; stopped at the end."""
    with ExitStack() as stack:
        etcds = [EtcdProcess() for _ in systems]
        for etcd in etcds:
            stack.callback(etcd.close)
            etcd.process.start()
        for etcd in etcds:
            etcd.wait_until_healthy()
        yield {system: Site(system, etcd) for system, etcd in zip(systems, etcds, strict=True)}
