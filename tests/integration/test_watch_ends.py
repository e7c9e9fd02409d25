"""What ends WatchLocks, and how whoever watched goes on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import grpc
import pytest

from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess
from tests.support.waiting import eventually
from tests.support.watching import Watcher, shown
from tests.support.wire import Wire, acquire, release

OBSERVER_CHANGES = 16
CHANGES = 1_000

# Compaction.


async def test_a_history_that_is_compacted_cannot_be_gone_on_from(
    own_etcd: EtcdProcess, own_server: ServerProcess, name: str
) -> None:
    async with Wire(own_server.target) as wire, Watcher(own_server.target, name=name) as watcher:
        await watcher.snapshot()
        await wire.open()
        granted = await wire.hold(acquire(1, name))
        await wire.ask(release(granted))
        await watcher.next_changes(2)
        await asyncio.to_thread(own_etcd.etcdctl, "compact", str(watcher.revision))
        async with Watcher(own_server.target, name=name, after=granted.token) as late:
            ended = await late.end()
            assert (ended.code, ended.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_COMPACTED")
        async with Watcher(own_server.target, name=name, after=watcher.revision) as in_time:
            await wire.hold(acquire(2, name))
            assert await in_time.next_changes(1) == await watcher.next_changes(1) == [("GRANTED", name)]


@pytest.fixture
async def link(own_etcd: EtcdProcess) -> AsyncIterator[Proxy]:
    """The network between a server and its etcd."""
    async with Proxy(int(own_etcd.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
async def remote_server(link: Proxy) -> AsyncIterator[ServerProcess]:
    """A server behind that link."""
    server = ServerProcess(link.target)
    try:
        server.start(serving=False)
        await eventually(lambda: asyncio.to_thread(server.serving), "the server has read the locks")
        yield server
        await asyncio.to_thread(server.stop)
        server.assert_no_traceback()
    finally:
        server.close()


async def test_a_server_that_missed_a_compacted_history_ends_its_observers(
    own_etcd: EtcdProcess, own_server: ServerProcess, link: Proxy, remote_server: ServerProcess, name: str
) -> None:
    """It cannot tell what happened meanwhile, and leaves nothing out silently. Its sessions go on."""
    async with (
        Wire(own_server.target) as wire,
        Wire(remote_server.target) as remote,
        Watcher(remote_server.target, prefix=name) as watcher,
    ):
        await watcher.snapshot()
        await wire.open()
        await remote.open()
        kept = await remote.hold(acquire(1, f"{name}/1"))
        await watcher.next_changes(1)
        await link.cut(refuse=True)
        await wire.ask(release(await wire.hold(acquire(2, f"{name}/2"))))
        new = await wire.hold(acquire(3, f"{name}/3"))
        await asyncio.to_thread(own_etcd.etcdctl, "compact", str(new.token))
        link.heal()
        ended = await watcher.end()
        assert (ended.code, ended.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_COMPACTED")
        assert len(watcher.changes) == 1
        async with Watcher(remote_server.target, prefix=name) as anew:
            assert {lock.name for lock in await anew.snapshot()} == {f"{name}/1", f"{name}/3"}
            await remote.ask(release(kept))
            assert await anew.next_changes(1) == [("RELEASED", f"{name}/1")]


# Ends.


async def test_an_observer_that_does_not_read_is_cut_off_and_others_are_served(
    etcd: EtcdProcess, start_server: StartServer, name: str
) -> None:
    """Then it goes on where it was, and has missed nothing."""
    server = start_server(etcd.endpoint, extra_args=[f"--observer-changes={OBSERVER_CHANGES}"])
    long = f"{name}/{'n' * 400}"
    async with (
        Wire(server.target) as wire,
        Watcher(server.target, prefix=long) as slow,
        Watcher(server.target, prefix=long) as steady,
    ):
        await slow.snapshot()
        await steady.snapshot()
        await wire.open()
        await change(wire, long, steady)
        await assert_cut_off(slow)
        async with Watcher(server.target, prefix=long, after=slow.revision) as resumed:
            await resumed.until_changes(CHANGES - len(slow.changes))
            assert shown(slow.changes) + shown(resumed.changes) == shown(steady.changes)


async def test_an_observer_that_does_not_read_of_the_past_is_cut_off(
    etcd: EtcdProcess, start_server: StartServer, name: str
) -> None:
    """Though nothing changes any more. Then it goes on where it was, and has missed nothing."""
    server = start_server(etcd.endpoint, extra_args=["--observer-timeout=0.5", "--max-observers=2"])
    long = f"{name}/{'n' * 400}"
    async with Wire(server.target) as wire, Watcher(server.target, prefix=long) as steady:
        await steady.snapshot()
        await wire.open()
        before = steady.revision
        await change(wire, long, steady)
        async with Watcher(server.target, prefix=long, after=before) as slow:
            await slow.read()
            await eventually(lambda: takes_observers(server, name), "the server has cut off the one that does not read")
            await assert_cut_off(slow)
        async with Watcher(server.target, prefix=long, after=slow.revision) as resumed:
            await resumed.until_changes(CHANGES - len(slow.changes))
            assert shown(slow.changes) + shown(resumed.changes) == shown(steady.changes)


async def change(wire: Wire, name: str, steady: Watcher) -> None:
    """Bring about more than a stream takes that nobody reads, as fast as somebody else reads it."""
    for number in range(1, CHANGES // 2 + 1):
        await wire.ask(release(await wire.hold(acquire(number, f"{name}/{number % 10}"))))
        await steady.until_changes(2 * number)


async def assert_cut_off(slow: Watcher) -> None:
    """It was told something, not all, and why not."""
    ended = await slow.end()
    assert (ended.code, ended.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")
    assert 0 < len(slow.changes) < CHANGES


async def takes_observers(server: ServerProcess, name: str) -> bool:
    """Whether there is room for one more."""
    async with Watcher(server.target, name=name) as another:
        with suppress(grpc.aio.AioRpcError):
            await another.snapshot()
        return bool(another.messages)


async def test_a_server_that_stops_says_so(own_etcd: EtcdProcess, own_server: ServerProcess, name: str) -> None:
    async with Watcher(own_server.target, name=name) as watcher:
        await watcher.snapshot()
        stopping = asyncio.ensure_future(asyncio.to_thread(own_server.stop))
        ended = await watcher.end()
        await stopping
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_there_are_only_so_many_observers(etcd: EtcdProcess, start_server: StartServer, name: str) -> None:
    server = start_server(etcd.endpoint, extra_args=["--max-observers=1"])
    async with Watcher(server.target, name=name) as first:
        await first.snapshot()
        async with Watcher(server.target, name=name) as second:
            ended = await second.end()
            assert (ended.code, ended.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    await eventually(lambda: takes_observers(server, name), "the server has seen the first one leave")


@pytest.fixture
def unconnected() -> Iterator[ServerProcess]:
    """A server whose etcd does not run."""
    etcd = EtcdProcess()
    server = ServerProcess(etcd.endpoint)
    try:
        server.start(serving=False)
        yield server
        server.stop()
        server.assert_no_traceback()
    finally:
        server.close()
        etcd.close()


@pytest.mark.parametrize("after", [0, 7])
async def test_a_server_that_has_not_reached_etcd_is_unavailable(
    unconnected: ServerProcess, name: str, after: int
) -> None:
    async with Watcher(unconnected.target, name=name, after=after) as watcher:
        ended = await watcher.end()
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
