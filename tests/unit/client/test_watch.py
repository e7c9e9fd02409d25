"""Watching locks, seen from the server: what is asked for, and what is told after which failure."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import pytest

import lockstream
from lockstream import ChangeKind, ErrorReason, LockChanges, LocksSnapshot, LossReason
from lockstream.v1 import errors_pb2, lock_pb2, service_pb2
from tests.unit.client.scripted_reads import BROKEN, Failure, ScriptedReads, refusal, scripted_reads

AT_ONCE = 2.0
"""Seconds that a busy machine may take for what waits for nothing."""


@pytest.fixture
async def server() -> AsyncIterator[ScriptedReads]:
    async with scripted_reads() as server:
        yield server


@pytest.fixture
async def client(server: ScriptedReads) -> AsyncIterator[lockstream.Client]:
    async with lockstream.connect(server.target, backoff_min=0.01, backoff_max=0.02) as client:
        yield client


def entry(
    token: int, state: lock_pb2.EntryState.ValueType = lock_pb2.ENTRY_STATE_HELD, value: bytes = b""
) -> lock_pb2.Entry:
    return lock_pb2.Entry(
        session_id=f"{token:016x}", acquire_id=1, mode=lock_pb2.MODE_EXCLUSIVE, state=state, token=token, value=value
    )


def lock(name: str, *entries: lock_pb2.Entry) -> lock_pb2.Lock:
    return lock_pb2.Lock(name=name, entries=entries)


def change(
    kind: service_pb2.LockChange.Kind.ValueType, token: int, name: str = "a", value: bytes = b""
) -> service_pb2.LockChange:
    return service_pb2.LockChange(kind=kind, name=name, entry=entry(token, value=value))


GRANTED = service_pb2.LockChange.KIND_GRANTED
RELEASED = service_pb2.LockChange.KIND_RELEASED
CHANGED = service_pb2.LockChange.KIND_CHANGED
LOST = service_pb2.LockChange.KIND_LOST


async def test_first_a_snapshot_then_changes(server: ScriptedReads, client: lockstream.Client) -> None:
    watch = client.watch_locks(prefix="a")
    first = asyncio.ensure_future(anext(watch))
    played = await server.watch()
    assert played.request == service_pb2.WatchLocksRequest(prefix="a")
    await played.show(10, lock("a", entry(5)), complete=False)
    await played.show(10, lock("ab", entry(6), entry(9, lock_pb2.ENTRY_STATE_WAITING)))
    lost = change(LOST, 6, "ab")
    lost.reason = errors_pb2.LOSS_REASON_FORCE_RELEASED
    await played.tell(12, lost, change(GRANTED, 9, "ab"))

    snapshot, changes = await first, await anext(watch)
    assert isinstance(snapshot, LocksSnapshot)
    assert (snapshot.revision, [view.name for view in snapshot.locks]) == (10, ["a", "ab"])
    assert [len(view.waiters) for view in snapshot.locks] == [0, 1]
    assert isinstance(changes, LockChanges)
    assert [(one.kind, one.entry.token, one.reason) for one in changes.changes] == [
        (ChangeKind.LOST, 6, LossReason.FORCE_RELEASED),
        (ChangeKind.GRANTED, 9, None),
    ]
    assert (changes.revision, watch.revision) == (12, 12)


@pytest.mark.parametrize(
    "failure",
    [
        BROKEN,
        Failure(grpc.StatusCode.CANCELLED),
        Failure(grpc.StatusCode.UNKNOWN),
        refusal(ErrorReason.SLOW_CONSUMER, retryable=True, settled=False),
        refusal(ErrorReason.DRAINING, retryable=True),
        None,
    ],
    ids=["broken", "cancelled", "unknown", "slow consumer", "draining", "ended"],
)
async def test_a_broken_watch_goes_on_after_the_last_revision(
    server: ScriptedReads, client: lockstream.Client, failure: Failure | None
) -> None:
    watch = client.watch_locks("a")
    snapshot = asyncio.ensure_future(anext(watch))
    played = await server.watch()
    await played.show(10)
    await snapshot
    await played.tell(12, change(GRANTED, 12))
    await anext(watch)
    if failure is None:
        played.end.set_result(None)
    else:
        played.fail(failure)
    after = asyncio.ensure_future(anext(watch))
    again = await server.watch()
    assert again.request == service_pb2.WatchLocksRequest(name="a", after_revision=12)
    await again.tell(13, change(RELEASED, 12))
    assert (await after).revision == 13


async def test_a_revision_without_changes_counts_and_is_not_told(
    server: ScriptedReads, client: lockstream.Client
) -> None:
    watch = client.watch_locks("a", after_revision=7)
    told = asyncio.ensure_future(anext(watch))
    played = await server.watch()
    await played.tell(20)
    played.fail(BROKEN)
    again = await server.watch()
    assert again.request.after_revision == 20
    await again.tell(21, change(GRANTED, 21))
    assert (await told).revision == 21


async def test_it_goes_on_at_the_next_endpoint(server: ScriptedReads) -> None:
    async with scripted_reads() as other, lockstream.connect(f"{server.target},{other.target}") as client:
        watch = client.watch_locks("a")
        snapshot = asyncio.ensure_future(anext(watch))
        played = await server.watch()
        await played.show(10)
        await snapshot
        played.fail(BROKEN)
        told = asyncio.ensure_future(anext(watch))
        again = await other.watch()
        await again.tell(11, change(GRANTED, 11))
        assert (await told).revision == 11


async def test_half_a_snapshot_is_forgotten(server: ScriptedReads, client: lockstream.Client) -> None:
    watch = client.watch_locks()
    told = asyncio.ensure_future(anext(watch))
    played = await server.watch()
    await played.show(10, lock("a", entry(5)), complete=False)
    played.fail(BROKEN)
    again = await server.watch()
    assert again.request == service_pb2.WatchLocksRequest(prefix="")
    await again.show(11, lock("b", entry(6)))
    snapshot = await told
    assert isinstance(snapshot, LocksSnapshot)
    assert [view.name for view in snapshot.locks] == ["b"]


async def test_a_revision_in_parts_is_told_as_one(server: ScriptedReads, client: lockstream.Client) -> None:
    """Each part but the last says that everything up to the revision before was told."""
    watch = client.watch_locks("a", after_revision=10)
    told = asyncio.ensure_future(anext(watch))
    played = await server.watch()
    await played.tell(10, change(RELEASED, 5))
    played.fail(BROKEN)
    again = await server.watch()
    assert again.request.after_revision == 10
    await again.tell(10, change(RELEASED, 5))
    await again.tell(12, change(GRANTED, 9))
    changes = await told
    assert isinstance(changes, LockChanges)
    assert changes.revision == 12
    assert [one.kind for one in changes.changes] == [ChangeKind.RELEASED, ChangeKind.GRANTED]


async def test_compacted_history_is_a_second_snapshot(server: ScriptedReads, client: lockstream.Client) -> None:
    watch = client.watch_locks("a", after_revision=3)
    told = asyncio.ensure_future(anext(watch))
    played = await server.watch()
    assert played.request.after_revision == 3
    played.fail(refusal(ErrorReason.HISTORY_COMPACTED))
    again = await server.watch()
    assert again.request.after_revision == 0
    await again.show(50, lock("a", entry(40)))
    snapshot = await told
    assert isinstance(snapshot, LocksSnapshot)
    assert (snapshot.revision, watch.revision) == (50, 50)


@pytest.mark.parametrize("reason", [ErrorReason.INVALID_ARGUMENT, ErrorReason.HISTORY_COMPACTED])
async def test_a_refusal_is_raised(server: ScriptedReads, client: lockstream.Client, reason: ErrorReason) -> None:
    told = asyncio.ensure_future(anext(client.watch_locks("a")))
    (await server.watch()).fail(refusal(reason))
    with pytest.raises(lockstream.LockstreamError) as raised:
        await told
    assert raised.value.reason is reason


async def test_a_server_that_does_not_answer_the_first_time_is_an_error(server: ScriptedReads) -> None:
    async with lockstream.connect(server.target, connect_timeout=0.3) as client:
        with pytest.raises(lockstream.ServerUnavailable):
            await anext(client.watch_locks("a"))


async def test_a_server_that_hangs_is_left_for_the_next(server: ScriptedReads) -> None:
    async with (
        scripted_reads() as other,
        lockstream.connect(f"{server.target},{other.target}", connect_timeout=1) as client,
    ):
        told = asyncio.ensure_future(anext(client.watch_locks("a")))
        hanging = await server.watch()
        await (await other.watch()).show(10)
        assert (await told).revision == 10
        await hanging.left.wait()


async def test_what_a_server_said_again_and_again_is_raised_in_the_end(server: ScriptedReads) -> None:
    async with lockstream.connect(server.target, connect_timeout=0.3, backoff_max=0.1) as client:
        told = asyncio.ensure_future(anext(client.watch_locks("a")))
        for _ in range(2):
            (await server.watch()).fail(refusal(ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False))
        while not told.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    played = await server.watch()
                    played.fail(refusal(ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False))
        with pytest.raises(lockstream.StoreUnavailable):
            await told


async def test_after_the_first_answer_it_tries_for_longer_than_the_connect_timeout(server: ScriptedReads) -> None:
    async with lockstream.connect(server.target, connect_timeout=0.2, backoff_min=0.05, backoff_max=0.1) as client:
        watch = client.watch_locks("a")
        snapshot = asyncio.ensure_future(anext(watch))
        played = await server.watch()
        await played.show(10)
        await snapshot
        told = asyncio.ensure_future(anext(watch))
        until = asyncio.get_running_loop().time() + 0.5
        while asyncio.get_running_loop().time() < until:
            played.fail(BROKEN)
            played = await server.watch()
        await played.tell(11, change(GRANTED, 11))
        assert (await told).revision == 11


@pytest.mark.parametrize("whole_client", [False, True], ids=["watch", "client"])
async def test_closing_ends_the_reader_at_once(
    server: ScriptedReads, client: lockstream.Client, whole_client: bool
) -> None:
    watch = client.watch_locks("a")
    reader = asyncio.ensure_future(_all(watch))
    played = await server.watch()
    await played.show(10)
    async with asyncio.timeout(AT_ONCE):
        await (client.close() if whole_client else watch.close())
        assert [told.revision for told in await reader] in ([], [10])
        await played.left.wait()
    assert await _all(watch) == []


async def test_a_watch_that_is_forgotten_is_left(server: ScriptedReads, client: lockstream.Client) -> None:
    """As by a `break` out of its loop, without `async with`."""
    watch = client.watch_locks("a")
    told = asyncio.ensure_future(anext(watch))
    played = await server.watch()
    await played.show(10)
    await told
    del watch, told
    gc.collect()
    async with asyncio.timeout(AT_ONCE):
        await played.left.wait()


async def test_closing_ends_a_pause_between_attempts(server: ScriptedReads) -> None:
    async with lockstream.connect(server.target, backoff_min=60, backoff_max=60, connect_timeout=300) as client:
        watch = client.watch_locks("a")
        reader = asyncio.ensure_future(_all(watch))
        played = await server.watch()
        played.fail(BROKEN)
        await played.left.wait()
        async with asyncio.timeout(AT_ONCE):
            await watch.close()
            assert await reader == []


async def test_a_cancelled_reader_is_cancelled_and_the_next_loses_nothing(
    server: ScriptedReads, client: lockstream.Client
) -> None:
    watch = client.watch_locks("a")
    snapshot = asyncio.ensure_future(anext(watch))
    played = await server.watch()
    await played.show(10)
    await snapshot
    reader = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await played.left.wait()
    told = asyncio.ensure_future(anext(watch))
    again = await server.watch()
    assert again.request.after_revision == 10
    await again.tell(11, change(GRANTED, 11))
    assert (await told).revision == 11


async def test_a_reader_that_is_cancelled_while_the_watch_closes_stays_cancelled(
    server: ScriptedReads, client: lockstream.Client
) -> None:
    watch = client.watch_locks("a")
    reader = asyncio.ensure_future(anext(watch))
    await server.watch()
    reader.cancel()
    await watch.close()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_what_cannot_be_watched_is_refused_at_once(client: lockstream.Client) -> None:
    with pytest.raises(lockstream.InvalidArgument):
        client.watch_locks("a", prefix="b")
    with pytest.raises(lockstream.InvalidArgument):
        client.watch_locks("a", after_revision=-1)
    await client.close()
    with pytest.raises(lockstream.WrongState):
        client.watch_locks("a")


# Who leads.


async def test_leaders_are_told_from_the_present_one_on(server: ScriptedReads, client: lockstream.Client) -> None:
    leaders = client.election("e").observe()
    first = asyncio.ensure_future(anext(leaders))
    played = await server.watch()
    assert played.request.name == "e"
    waiting = entry(7, lock_pb2.ENTRY_STATE_WAITING)
    await played.show(10, lock("e", entry(5, value=b"one"), waiting))
    await played.tell(11, change(CHANGED, 5, "e", b"two"))
    await played.tell(12, service_pb2.LockChange(kind=CHANGED, name="e", entry=waiting))
    await played.tell(13, change(RELEASED, 5, "e", b"two"), change(GRANTED, 7, "e", b"three"))
    await played.tell(14, change(LOST, 7, "e"))
    delay = entry(15, lock_pb2.ENTRY_STATE_DELAY)
    await played.tell(15, service_pb2.LockChange(kind=GRANTED, name="e", entry=delay))
    await played.tell(16, change(GRANTED, 16, "e", b"four"))

    told = [await first, *[await anext(leaders) for _ in range(4)]]
    assert [(leader.token, leader.value) if leader else None for leader in told] == [
        (5, b"one"),
        (5, b"two"),
        (7, b"three"),
        None,
        (16, b"four"),
    ]


async def test_nobody_leading_is_told_first_too(server: ScriptedReads, client: lockstream.Client) -> None:
    async with client.election("e").observe() as leaders:
        first = asyncio.ensure_future(anext(leaders))
        played = await server.watch()
        await played.show(10)
        assert await first is None
        await played.tell(11, change(GRANTED, 11, "e"))
        leader = await anext(leaders)
        assert leader is not None
        assert leader.token == 11
    assert [leader async for leader in leaders] == []


async def test_a_second_snapshot_replaces_the_leader(server: ScriptedReads, client: lockstream.Client) -> None:
    leaders = client.election("e").observe()
    first = asyncio.ensure_future(anext(leaders))
    played = await server.watch()
    await played.show(10, lock("e", entry(5)))
    await first
    played.fail(refusal(ErrorReason.HISTORY_COMPACTED))
    told = asyncio.ensure_future(anext(leaders))
    await (await server.watch()).show(90, lock("e", entry(80)))
    leader = await told
    assert leader is not None
    assert leader.token == 80


async def _all(watch: lockstream.LockWatch) -> list[LocksSnapshot | LockChanges]:
    return [told async for told in watch]
