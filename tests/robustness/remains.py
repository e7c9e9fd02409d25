"""What there is after a run, read from etcd and from the processes."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
from etcd3 import etcdrpc

from lockstream_server.store.keys import range_end
from tests.robustness.validate.leftovers import Remains
from tests.support.etcd import etcd_program
from tests.support.server import ServerProcess


async def read_etcd(endpoint: str, prefix: str = "/lockstream/") -> Remains:
    """Every key under the prefix, and every lease.

    Leases are listed by `etcdctl`, for whose request the stubs have no message.
    """
    async with grpc.aio.insecure_channel(endpoint) as channel:
        start = prefix.encode()
        request = etcdrpc.RangeRequest(key=start, range_end=range_end(start))
        everything: Any = await etcdrpc.KVStub(channel).Range(request)
        lease = etcdrpc.LeaseStub(channel)
        leases = {}
        for each in await _leases(endpoint):
            told: Any = await lease.LeaseTimeToLive(etcdrpc.LeaseTimeToLiveRequest(ID=each))
            if told.TTL >= 0:  # it has not ended meanwhile
                leases[each] = told.grantedTTL
    return Remains(keys={pair.key.decode("latin-1"): pair.lease for pair in everything.kvs}, leases=leases)


async def _leases(endpoint: str) -> list[int]:
    command = [etcd_program("etcdctl"), f"--endpoints={endpoint}", "lease", "list"]
    listing = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await listing.communicate()
    if listing.returncode != 0:
        raise RuntimeError(f"etcdctl lease list ended with {listing.returncode}")
    return [int(line, 16) for line in output.decode().split("\n")[1:] if line]


def tasks_left(server: ServerProcess) -> list[str] | None:
    """The tasks that a server still had whenever it stopped in good order; None if it never did."""
    stops = [record["tasks"] for record in server.log_records() if record["message"] == "stopped"]
    return [task for tasks in stops for task in tasks] if stops else None


def file_descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
