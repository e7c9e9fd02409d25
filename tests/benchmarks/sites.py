"""The server processes of a system: an etcd of its own, and what is in front of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.benchmarks.plan import LOCKSTREAM, LOCKSTREAM_SHARED
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess

# Every etcd is started with the same flags and keeps its data in a temporary folder, so on the same kind of disk.


@dataclass(frozen=True)
class Site:
    """A system's running servers.

    Attributes:
        target: `host:port` at which its locks are served.
        etcd: `host:port` of its etcd.
        pids: the ids of its processes: `etcd`, and `server` where that is another.
    """

    target: str
    etcd: str
    pids: Mapping[str, int]


@contextmanager
def running_sites(systems: Sequence[str]) -> Iterator[dict[str, Site]]:
    """Fresh servers for each of the systems, all at once; stopped at the end.

    The two ways of using Lockstream share a server: they differ in the client only.
    """
    with ExitStack() as stack:
        sites: dict[str, Site] = {}
        for system in systems:
            if system not in (LOCKSTREAM, LOCKSTREAM_SHARED):
                sites[system] = _etcd_site(stack)
            elif LOCKSTREAM not in sites:
                sites[LOCKSTREAM] = sites[LOCKSTREAM_SHARED] = _lockstream_site(stack)
        yield sites


def _etcd_site(stack: ExitStack) -> Site:
    etcd = stack.enter_context(EtcdProcess())
    return Site(etcd.endpoint, etcd.endpoint, {"etcd": etcd.process.pid})


def _lockstream_site(stack: ExitStack) -> Site:
    etcd = stack.enter_context(EtcdProcess())
    # What a run leaves behind at its end are no sessions worth waiting for.
    server = stack.enter_context(ServerProcess(etcd.endpoint, extra_args=("--drain-timeout=0",)))
    return Site(server.target, etcd.endpoint, {"server": server.pid, "etcd": etcd.process.pid})
