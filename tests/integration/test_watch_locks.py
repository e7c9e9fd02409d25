"""WatchLocks: a snapshot, then every change in etcd's order; through plain generated stubs."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from lockstream.v1 import errors_pb2, lock_pb2, service_pb2, service_pb2_grpc, session_pb2
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.watching import Ended, Watcher, kind
from tests.support.wire import Wire, acquire, release

# What is told.


async def test_a_watch_begins_with_how_the_lock_stands(server: ServerProcess, name: str) -> None:
    async with Wire(server.target) as wire, Watcher(server.target, name=name) as free:
        assert await free.snapshot() == []
        attached = await wire.open()
        granted = await wire.hold(acquire(1, name))
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
        first = await wire.hold(acquire(1, name))
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
    """Nobody holds it from then on, and it is gone when nobody can believe in it any more."""
    async with Wire(server.target) as wire, Watcher(server.target, prefix=name) as watcher:
        await watcher.snapshot()
        session = (await wire.open()).session_id
        await wire.hold(acquire(1, f"{name}/a"))
        await wire.ask(acquire(2, f"{name}/a"))
        await wire.hold(acquire(3, f"{name}/b"))
        await watcher.next_changes(3)
        await asyncio.to_thread(etcd.etcdctl, "lease", "revoke", session)
        told = sorted(await watcher.next_changes(2))
        assert told == [("CHANGED", f"{name}/a"), ("CHANGED", f"{name}/b")]
        assert {change.entry.state for _, change in watcher.changes[-2:]} == {lock_pb2.ENTRY_STATE_DELAY}
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
        grants = [await wire.hold(acquire(number, f"{name}/{end}")) for number, end in enumerate(("a", "ab", "b"), 1)]
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


# What is refused.


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
