"""Locks that other programs take in etcd itself."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import lockstream
from tests.support.etcd import EtcdProcess
from tests.support.processes import ChildProcess
from tests.support.waiting import eventually, until_queued


@pytest.fixture
def etcdctl_lock(etcd: EtcdProcess, lock_key: str, tmp_path: Path) -> Iterator[ChildProcess]:
    """`etcdctl lock` on the test's lock, not started; it prints its key once it has the lock."""
    command = etcd.etcdctl_command("lock", lock_key)
    process = ChildProcess(command, log=tmp_path / "etcdctl.log", output=tmp_path / "etcdctl.out")
    yield process
    process.stop()


async def test_what_etcdctl_holds_we_wait_for(etcdctl_lock: ChildProcess, client: lockstream.Client, name: str) -> None:
    """X16: refused when not waiting, granted when etcdctl lets go."""
    async with client.session() as session:
        etcdctl_lock.start()
        await eventually(lambda: bool(etcdctl_lock.output_lines()), "etcdctl has the lock")
        with pytest.raises(lockstream.WouldBlock):
            await session.acquire(name, wait=0)
        assert await session.try_lock(name, shared=True) is None
        waiting = asyncio.create_task(session.acquire(name))
        view = await until_queued(client, name, 1)
        assert [(entry.session_id, entry.shared) for entry in view.holders] == [("", False)]
        etcdctl_lock.send_signal(signal.SIGINT)
        assert (await waiting).token > view.holders[0].token


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
async def test_what_we_hold_etcdctl_waits_for(
    etcdctl_lock: ChildProcess, client: lockstream.Client, name: str, shared: bool
) -> None:
    """X16: and whoever of us asks after it waits for it in turn."""
    async with client.session() as first, client.session() as second:
        held = await first.acquire(name, shared=shared)
        etcdctl_lock.start()
        await until_queued(client, name, 1)
        waiting = asyncio.create_task(second.acquire(name, shared=shared))
        view = await until_queued(client, name, 2)
        assert [entry.session_id for entry in view.entries] == [first.id, "", second.id]
        assert etcdctl_lock.output_lines() == []
        await held.release()
        await eventually(lambda: bool(etcdctl_lock.output_lines()), "etcdctl has the lock")
        assert not waiting.done()
        etcdctl_lock.send_signal(signal.SIGINT)
        assert (await waiting).held
