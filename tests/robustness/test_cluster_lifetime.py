"""What a cluster is made of, and that nothing is left of it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.robustness.cluster import Cluster, EtcdProgram, all_etcds, newest_etcd
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
OWNER = """
import asyncio
from tests.robustness.cluster import Cluster
async def main():
    async with Cluster(members=1, servers=1) as cluster:
        print(*(node.process.pid for node in cluster.nodes), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()


async def test_a_cluster_leaves_no_process_and_no_file_behind() -> None:
    async with Cluster(members=1, servers=1) as cluster:
        pids = [node.process.pid for node in cluster.nodes]
        assert all(map(exists, pids))
        log = cluster.members[0].process.log
        assert log.exists()
    assert not any(map(exists, pids))
    assert not log.exists()


async def test_a_cluster_dies_with_its_process() -> None:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:  # noqa: ASYNC220 - returns once it is forked
        assert owner.stdout is not None
        try:
            pids = [int(word) for word in (await asyncio.to_thread(owner.stdout.readline)).split()]
            assert len(pids) == 2
            assert all(map(exists, pids))
        finally:
            owner.send_signal(signal.SIGKILL)
    await eventually(lambda: not any(map(exists, pids)), "members and servers are gone")


def test_the_newest_etcd_is_the_default() -> None:
    programs = all_etcds()
    versions = [program.version for program in programs]
    assert versions == sorted(set(versions))
    assert (3, 5, 1) in versions
    assert newest_etcd() == programs[-1]
    assert Cluster().etcd == programs[-1]
    assert str(EtcdProgram(Path("etcd"), (3, 6, 16))) == "etcd 3.6.16"
