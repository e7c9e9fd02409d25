"""WatchLocks: a snapshot, then every change in etcd's order; through plain generated stubs."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc
import pytest

from lockstream.v1 import errors_pb2, lock_pb2, service_pb2, service_pb2_grpc, session_pb2
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess
from tests.support.waiting import eventually
from tests.support.watching import Ended, Kind, Watcher, kind, shown
from tests.support.wire import Wire, acquire, release

OBSERVER_CHANGES = 16


async def held(wire: Wire, acquire_id: int, name: str) -> session_pb2.Granted:
    """Acquire a free lock."""
    granted = (await wire.ask(acquire(acquire_id, name))).granted
    assert granted.token
    return granted


# What is told.


async def test_a_watch_begins_with_how_the_lock_stands(server: ServerProcess, name: str) -> None:
    async with Wire(server.target) as wire, Watcher(server.target, name=name) as free:
        assert await free.snapshot() == []
        attached = await wire.open()
        granted = await held(wire, 1, name)
        await wire.ask(acquire(2, name))
        assert await free.next_changes(2) == [("GRANTED", name), ("QUEUED", name)]
        async with Watcher(server.target, name=name) as watcher:
            (lock,) = await watcher.snapshot()
            holder, waiter = lock.entries
            assert lock.name == name
            assert (holder.session_id, holder.token, holder.position) == (attached.session_id, granted.token, 0)
            assert (waiter.state, waiter.position) == (lock_pb2.ENTRY_STATE_WAITING, 1)
            assert watcher.revision >= waiter.token


async def test_every_change_of_a_lock_is_told_as_it_happens(server: ServerProcess, name: str) -> None:
    async with Wire(server.target) as wire, Watcher(server.target, name=name) as watcher:
        await watcher.snapshot()
        await wire.open()
        first = await held(wire, 1, name)
        await wire.ask(acquire(2, name))
        await wire.ask(acquire(3, name))
        await wire.ask(session_pb2.Cancel(acquire_id=3))
        await wire.told("wait_ended")
        await wire.ask(release(first))
        second = (await wire.told("granted")).granted
        await wire.ask(release(second))
        happened = ["GRANTED", "QUEUED", "QUEUED", "LEFT", "RELEASED", "GRANTED", "RELEASED"]
        assert await watcher.next_changes(len(happened)) == [(each, name) for each in happened]
        tokens = [change.entry.token for _, change in watcher.changes]
        assert [tokens[0], tokens[4]] == [first.token] * 2
        assert [tokens[1], tokens[5], tokens[6]] == [second.token] * 3
        assert [change.entry.position for _, change in watcher.changes] == [0, 1, 2, 0, 0, 0, 0]
        assert watcher.changes[1][1].entry.queued_at.seconds > 0
        assert watcher.changes[5][1].entry.granted_at.seconds > 0


async def test_what_a_session_held_is_lost_with_it(server: ServerProcess, etcd: EtcdProcess, name: str) -> None:
    async with Wire(server.target) as wire, Watcher(server.target, prefix=name) as watcher:
        await watcher.snapshot()
        session = (await wire.open()).session_id
        await held(wire, 1, f"{name}/a")
        await wire.ask(acquire(2, f"{name}/a"))
        await held(wire, 3, f"{name}/b")
        await watcher.next_changes(3)
        await asyncio.to_thread(etcd.etcdctl, "lease", "revoke", session)
        told = sorted(await watcher.next_changes(3))
        assert told == [("LEFT", f"{name}/a"), ("LOST", f"{name}/a"), ("LOST", f"{name}/b")]
        assert len({revision for revision, _ in watcher.changes[-3:]}) == 1, "all in one revision"
        lost = [change for _, change in watcher.changes if kind(change) == "LOST"]
        assert {change.reason for change in lost} == {errors_pb2.LOSS_REASON_LEASE_EXPIRED}


async def test_only_what_is_watched_is_told(server: ServerProcess, name: str) -> None:
    async with (
        Wire(server.target) as wire,
        Watcher(server.target, name=f"{name}/a") as one,
        Watcher(server.target, prefix=f"{name}/a") as some,
        Watcher(server.target) as everything,
    ):
        for watcher in (one, some, everything):
            await watcher.snapshot()
        await wire.open()
        grants = [await held(wire, number, f"{name}/{end}") for number, end in enumerate(("a", "ab", "b"), 1)]
        for granted in grants:
            await wire.ask(release(granted))
        names = [f"{name}/{end}" for end in ("a", "ab", "b")]
        assert await one.next_changes(2) == [("GRANTED", names[0]), ("RELEASED", names[0])]
        both = [*names[:2]]
        assert await some.next_changes(4) == [("GRANTED", each) for each in both] + [
            ("RELEASED", each) for each in both
        ]
        mine = [change for change in await everything.next_changes(6) if change[1].startswith(name)]
        while len(mine) < 6:
            mine += [change for change in await everything.next_changes(1) if change[1].startswith(name)]
        assert mine == [("GRANTED", each) for each in names] + [("RELEASED", each) for each in names]


async def test_a_large_snapshot_comes_in_parts_of_one_revision(server: ServerProcess, name: str) -> None:
    long = f"{name}/{'n' * 400}"
    async with Wire(server.target) as wire:
        await wire.open()
        ids = await wire.send(*(acquire(number, f"{long}/{number}") for number in range(1, 901)))
        last = max([(await wire.reply(request_id)).granted.token for request_id in ids])
        async with Watcher(server.target, prefix=long) as watcher:
            locks = await watcher.snapshot()
            while watcher.revision < last:
                # The server answered the acquires from their commits and had not folded them all.
                await watcher.read()
        changed = {change.name for _, change in watcher.changes}
        names = [lock.name for lock in locks]
        assert sorted([*names, *changed]) == sorted(f"{long}/{number}" for number in range(1, 901))
        snapshots = [told for told in watcher.messages if told.HasField("snapshot")]
        assert len(snapshots) > 1
        assert len({told.revision for told in snapshots}) == 1
        assert [told.snapshot.complete for told in snapshots] == [False] * (len(snapshots) - 1) + [True]


async def test_a_snapshot_of_very_many_locks_is_of_one_revision_too(
    own_etcd: EtcdProcess, own_server: ServerProcess, name: str
) -> None:
    """So many that the server reads them from etcd; some of them are released meanwhile."""
    async with AsyncExitStack() as stack:
        grants: dict[str, session_pb2.Granted] = {}
        wires = [await stack.enter_async_context(Wire(own_server.target)) for _ in range(6)]
        for place, wire in enumerate(wires):
            await wire.open()
            names = [f"{name}/{place}/{number:03}" for number in range(1_000)]
            ids = await wire.send(*(acquire(number, each) for number, each in enumerate(names, 1)))
            grants |= {each: (await wire.reply(i)).granted for each, i in zip(names, ids, strict=True)}
        async with Watcher(own_server.target, name=[*grants][-1]) as last:
            await last.until(lambda: bool(last.changes or (last.messages and last.messages[0].snapshot.locks)))
        watcher = await stack.enter_async_context(Watcher(own_server.target, prefix=name))
        to_release = [*grants][:1_000]
        releasing = asyncio.ensure_future(wires[0].send(*(release(grants[each]) for each in to_release)))
        locks = await watcher.snapshot()
        await releasing
        in_snapshot = {lock.name: lock.entries[0].token for lock in locks}
        await watcher.until_changes(len(set(to_release) & set(in_snapshot)))
    released = [change.name for _, change in watcher.changes]
    assert len({told.revision for told in watcher.messages if told.HasField("snapshot")}) == 1
    assert in_snapshot == {each: grants[each].token for each in in_snapshot}
    assert {kind(change) for _, change in watcher.changes} == {"RELEASED"}
    assert set(grants) == set(in_snapshot) | set(to_release)
    assert sorted(released) == sorted(set(to_release) & set(in_snapshot)), "what the snapshot has not was gone before"


# Order and completeness.


class Traffic:
    """Sessions at several servers that contend for a few names until they have had enough grants."""

    WORKERS = 6
    GRANTS = 40
    RELEASES = WORKERS * GRANTS

    def __init__(self, servers: Sequence[ServerProcess], names: Sequence[str], seed: int = 7) -> None:
        self._targets = [server.target for server in servers]
        self._names = names
        self._random = random.Random(seed)
        self.tokens: list[tuple[str, int]] = []
        """Every grant, as it was told to whoever asked."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as workers:
            for number in range(self.WORKERS):
                workers.create_task(self._work(self._targets[number % len(self._targets)]))

    async def _work(self, target: str) -> None:
        async with Wire(target) as wire:
            await wire.open()
            for acquire_id in range(1, self.GRANTS + 1):
                name = self._random.choice(self._names)
                mode = self._random.choice([lock_pb2.MODE_EXCLUSIVE, lock_pb2.MODE_SHARED])
                reply = await wire.ask(acquire(acquire_id, name, mode=mode))
                granted = reply.granted if reply.HasField("granted") else (await wire.told("granted")).granted
                self.tokens.append((name, granted.token))
                await wire.ask(release(granted))
            await wire.ask(session_pb2.Close())


def assert_whole(changes: list[tuple[int, Kind]]) -> None:
    """Every entry is queued or granted first, granted at most once, and gone in the end; revisions only grow."""
    revisions = [revision for revision, _ in changes]
    assert revisions == sorted(revisions)
    lives: dict[tuple[str, str, int], list[str]] = {}
    for _, change in changes:
        entry = change.entry
        lives.setdefault((change.name, entry.session_id, entry.token), []).append(kind(change))
    assert {tuple(life) for life in lives.values()} <= {
        ("GRANTED", "RELEASED"),
        ("QUEUED", "GRANTED", "RELEASED"),
    }


async def test_under_load_every_observer_is_told_the_same_in_the_same_order(
    two_servers: Sequence[ServerProcess], name: str
) -> None:
    names = [f"{name}/{number}" for number in range(3)]
    traffic = Traffic(two_servers, names)
    async with AsyncExitStack() as stack:
        watchers = [
            await stack.enter_async_context(Watcher(server.target, prefix=f"{name}/"))
            for server in two_servers
            for _ in range(2)
        ]
        for watcher in watchers:
            assert await watcher.snapshot() == []
        running = asyncio.ensure_future(traffic.run())
        for watcher in watchers:
            await until_over(watcher)
        await running
        told = [shown(watcher.changes) for watcher in watchers]
        assert told[1:] == told[:1] * (len(watchers) - 1)
        assert_whole(watchers[0].changes)
        grants = Counter((lock, token) for _, what, lock, token in told[0] if what == "GRANTED")
        assert grants == Counter(traffic.tokens)


async def until_over(watcher: Watcher, *before: Watcher) -> None:
    """Read until everything was released that the traffic was granted, `before` having been told the beginning."""
    await watcher.until(lambda: sum(map(releases, (watcher, *before))) >= Traffic.RELEASES)


def releases(watcher: Watcher) -> int:
    """How many it was told."""
    return sum(kind(change) == "RELEASED" for _, change in watcher.changes)


async def test_a_watch_goes_on_at_any_server_from_any_revision_that_it_told(
    own_etcd: EtcdProcess, start_server: StartServer, name: str
) -> None:
    """At the other server while its own is gone, and at its own when that is back and has seen nothing of it."""
    one, two = (start_server(own_etcd.endpoint) for _ in range(2))
    traffic = Traffic([two], [f"{name}/{number}" for number in range(3)])
    async with Watcher(two.target, prefix=name) as steady, Watcher(one.target, prefix=name) as first:
        await steady.snapshot()
        await first.snapshot()
        running = asyncio.ensure_future(traffic.run())
        await first.until_changes(50)
        one.kill()
        async with Watcher(two.target, prefix=name, after=first.revision) as second:
            await second.until_changes(50)
            await running
            one.start()
            async with Watcher(one.target, prefix=name, after=second.revision) as third:
                await until_over(steady)
                await until_over(third, first, second)
                parts = [shown(watcher.changes) for watcher in (first, second, third)]
                assert parts[0] + parts[1] + parts[2] == shown(steady.changes)
                assert all(parts)
    assert_whole(steady.changes)


async def test_every_revision_can_be_gone_on_from_while_locks_change(
    two_servers: Sequence[ServerProcess], name: str
) -> None:
    traffic = Traffic(two_servers, [f"{name}/{number}" for number in range(3)])
    async with AsyncExitStack() as stack:
        steady = await stack.enter_async_context(Watcher(two_servers[0].target, prefix=name))
        await steady.snapshot()
        running = asyncio.ensure_future(traffic.run())
        others: list[tuple[int, Watcher]] = []
        while releases(steady) < Traffic.RELEASES:
            await steady.read()
            if len(others) < 10 and len(steady.changes) > 40 * len(others):
                target = two_servers[len(others) % 2].target
                after = steady.revision
                others.append((after, await stack.enter_async_context(Watcher(target, prefix=name, after=after))))
        await running
        assert len(others) == 10
        for after, watcher in others:
            rest = [each for each in shown(steady.changes) if each[0] > after]
            await watcher.until_changes(len(rest))
            assert shown(watcher.changes) == rest


# Compaction.


async def test_a_history_that_is_compacted_cannot_be_gone_on_from(
    own_etcd: EtcdProcess, own_server: ServerProcess, name: str
) -> None:
    async with Wire(own_server.target) as wire, Watcher(own_server.target, name=name) as watcher:
        await watcher.snapshot()
        await wire.open()
        granted = await held(wire, 1, name)
        await wire.ask(release(granted))
        await watcher.next_changes(2)
        await asyncio.to_thread(own_etcd.etcdctl, "compact", str(watcher.revision))
        async with Watcher(own_server.target, name=name, after=granted.token) as late:
            ended = await late.end()
            assert (ended.code, ended.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_COMPACTED")
        async with Watcher(own_server.target, name=name, after=watcher.revision) as in_time:
            await held(wire, 2, name)
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
        kept = await held(remote, 1, f"{name}/1")
        await watcher.next_changes(1)
        await link.cut(refuse=True)
        await wire.ask(release(await held(wire, 2, f"{name}/2")))
        new = await held(wire, 3, f"{name}/3")
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
    grants = 500
    async with (
        Wire(server.target) as wire,
        Watcher(server.target, prefix=long) as slow,
        Watcher(server.target, prefix=long) as steady,
    ):
        await slow.snapshot()
        await steady.snapshot()
        await wire.open()
        for number in range(1, grants + 1):
            await wire.ask(release(await held(wire, number, f"{long}/{number % 10}")))
            await steady.until_changes(2 * number)
        ended = await slow.end()
        assert (ended.code, ended.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")
        assert 0 < len(slow.changes) < 2 * grants
        async with Watcher(server.target, prefix=long, after=slow.revision) as resumed:
            await resumed.until_changes(2 * grants - len(slow.changes))
            assert shown(slow.changes) + shown(resumed.changes) == shown(steady.changes)


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

    async def there_is_room() -> bool:
        async with Watcher(server.target, name=name) as third:
            with suppress(grpc.aio.AioRpcError):
                await third.snapshot()
            return bool(third.messages)

    await eventually(there_is_room, "the server has seen the first one leave")


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


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        pytest.param({}, "names", id="nothing"),
        pytest.param({"name": ""}, "name", id="the empty name"),
        pytest.param({"name": "n" * 513}, "name", id="too long a name"),
        pytest.param({"prefix": "n" * 513}, "prefix", id="too long a prefix"),
        pytest.param({"prefix": "", "after_revision": 2**40}, "after_revision", id="from the future"),
        pytest.param({"prefix": "", "after_revision": 2**64 - 1}, "after_revision", id="from beyond all revisions"),
    ],
)
async def test_what_cannot_be_watched_is_refused(server: ServerProcess, bad: dict[str, Any], field: str) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub: service_pb2_grpc.LockServiceAsyncStub = service_pb2_grpc.LockServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.WatchLocks(service_pb2.WatchLocksRequest(**bad)).read()
    ended = Ended(refused.value)
    assert (ended.code, ended.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_request_that_cannot_be_decoded_is_refused(server: ServerProcess) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            "/lockstream.v1.LockService/WatchLocks"
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await watch(b"\xff\xff").read()
    assert (Ended(refused.value).code, Ended(refused.value).field) == (grpc.StatusCode.INVALID_ARGUMENT, "message")
