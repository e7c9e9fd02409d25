"""How long a lock may be held, and how those who wait ask for it."""

from collections.abc import Sequence

import pytest

from lockstream.v1 import errors_pb2, lock_pb2, session_pb2
from tests.integration.conftest import Join, StartServer
from tests.support.calls import Stubs
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiters import SLACK_SECONDS, Stopwatch
from tests.support.wire import Wire, acquire, acquire_all, permits, release

EARLY = 0.05
"""A watch of ours may start this much after the moment which the server counts from."""


def limited(acquire_id: int, name: str, seconds: float, notice: float | None = None) -> session_pb2.Acquire:
    """An acquire whose hold may last so long."""
    asked = acquire(acquire_id, name)
    asked.max_hold.FromNanoseconds(int(seconds * 1e9))
    if notice is not None:
        asked.yield_notice.FromNanoseconds(int(notice * 1e9))
    return asked


def asking(asked: session_pb2.Acquire) -> session_pb2.Acquire:
    """The same, asking the holder to yield should it have to wait."""
    asked.request_yield = True
    return asked


async def nothing_told(wire: Wire) -> None:
    """No event came, nor is one on its way that was caused before."""
    assert (await wire.ask(session_pb2.Heartbeat())).HasField("proof")
    assert wire.unread == []


async def test_a_hold_ends_after_its_longest_time_with_a_notice_before(join: Join, stubs: Stubs, name: str) -> None:
    """The holder is told twice, the next one is granted, and the eviction is on record."""
    holder, waiter = await join(), await join()
    asked = Stopwatch()
    granted = await holder.hold(limited(1, name, 1.5, notice=0.5))
    held = Stopwatch()
    await waiter.queue(acquire(1, name))
    assert (await stubs.entries(name))[0].max_hold.ToTimedelta().total_seconds() == 1.5
    notice = (await holder.told("yield_requested")).yield_requested
    assert asked.seconds >= 1.0 - EARLY
    assert held.seconds <= 1.0 + SLACK_SECONDS
    assert (notice.acquire_id, notice.name, notice.token) == (1, name, granted.token)
    assert 0 < notice.remaining.ToTimedelta().total_seconds() <= 0.5 + EARLY
    lost = (await holder.told("lost")).lost
    assert asked.seconds >= 1.5 - EARLY
    assert held.seconds <= 1.5 + SLACK_SECONDS
    assert (lost.acquire_id, lost.token) == (1, granted.token)
    assert lost.reason == errors_pb2.LOSS_REASON_MAX_HOLD_EXCEEDED
    assert (await waiter.told("granted")).granted.token > granted.token
    [eviction] = await stubs.evictions(name, least=1)
    assert (eviction.session_id, eviction.acquire_id) == (holder.attached.session_id, 1)
    assert (eviction.name, eviction.token) == (name, granted.token)
    assert eviction.actor == holder.attached.server
    assert eviction.reason
    assert await holder.refused(release(granted)) == "NOT_HELD"
    await holder.queue(limited(2, name, 1))


async def test_a_release_in_time_is_no_eviction_and_the_next_hold_begins_anew(
    join: Join, stubs: Stubs, name: str
) -> None:
    """The time of a waiter counts from its grant."""
    holder = await join()
    watch = Stopwatch()
    first = await holder.hold(limited(1, name, 1))
    await holder.queue(limited(2, name, 1))
    notice = (await holder.told("yield_requested")).yield_requested
    assert notice.acquire_id == 1
    await holder.ask(release(first))
    assert (await holder.told("granted")).granted.acquire_id == 2
    between = watch.seconds
    assert (await holder.told("yield_requested")).yield_requested.acquire_id == 2
    assert (await holder.told("lost")).lost.acquire_id == 2
    assert watch.seconds >= between + 1 - EARLY
    assert [eviction.acquire_id for eviction in await stubs.evictions(name, least=1)] == [2]


async def test_the_time_goes_on_over_a_resume_at_another_server(
    three_servers: Sequence[ServerProcess], join: Join, stubs: Stubs, name: str
) -> None:
    """It does not begin anew; the server that has the session then evicts."""
    holder = await join(three_servers[0], grace=None)
    watch = Stopwatch()
    granted = await holder.hold(limited(1, name, 2, notice=0.5))
    await holder.cut()
    async with Wire(three_servers[1].target) as again:
        await again.resume(holder.attached)
        assert (await again.told("yield_requested")).yield_requested.token == granted.token
        assert (await again.told("lost")).lost.reason == errors_pb2.LOSS_REASON_MAX_HOLD_EXCEEDED
        assert 2 - EARLY <= watch.seconds <= 2 + SLACK_SECONDS
        assert [eviction.actor for eviction in await stubs.evictions(name, least=1)] == [three_servers[1].name]


async def test_the_time_goes_on_while_nobody_is_attached(join: Join, stubs: Stubs, name: str) -> None:
    """A client that lost its connection holds for no longer than others; its session goes on without the lock."""
    holder, waiter = await join(grace=None), await join()
    watch = Stopwatch()
    await holder.hold(limited(1, name, 1))
    await waiter.queue(acquire(1, name))
    await holder.cut()
    await waiter.told("granted")
    assert 1 - EARLY <= watch.seconds <= 1 + SLACK_SECONDS
    async with Wire(stubs.target) as again:
        assert list((await again.resume(holder.attached)).claims) == []


async def test_the_time_goes_on_while_its_server_is_gone(
    etcd: EtcdProcess, server: ServerProcess, start_server: StartServer, name: str
) -> None:
    """A session that comes back too late loses the lock at once."""
    doomed = start_server(etcd.endpoint)
    async with Wire(doomed.target) as holder, Wire(server.target) as again:
        await holder.open()
        watch = Stopwatch()
        granted = await holder.hold(limited(1, name, 1))
        # Its end is written after the grant; what is written next comes after that.
        await holder.ask(session_pb2.SetValue(acquire_id=1, token=granted.token))
        doomed.kill()
        while watch.seconds < 1.1:
            await again.refused(session_pb2.Heartbeat())
        await again.resume(holder.attached)
        assert (await again.told("yield_requested")).yield_requested.token == granted.token
        assert (await again.told("lost")).lost.token == granted.token
        assert watch.seconds <= 1.1 + SLACK_SECONDS


async def test_shared_holds_and_permits_are_limited_as_well(join: Join, name: str) -> None:
    """Each by itself."""
    wire = await join()
    shared = limited(1, f"{name}/shared", 1, notice=0)
    shared.mode = lock_pb2.MODE_SHARED
    await wire.hold(shared)
    await wire.hold(acquire(2, f"{name}/shared", mode=lock_pb2.MODE_SHARED))
    counted = permits(3, f"{name}/permits", 1, 2)
    counted.max_hold.FromSeconds(1)
    counted.yield_notice.FromSeconds(0)
    await wire.hold(counted)
    lost: set[int] = set()
    while len(lost) < 2:
        event = await wire.event()
        if event.HasField("lost"):
            lost.add(event.lost.acquire_id)
    assert lost == {1, 3}


@pytest.mark.parametrize("mode", [lock_pb2.MODE_EXCLUSIVE, lock_pb2.MODE_SHARED, lock_pb2.MODE_PERMITS])
async def test_one_who_waits_at_another_server_can_ask_the_holders_to_yield(
    join: Join, stubs: Stubs, name: str, mode: lock_pb2.Mode.ValueType
) -> None:
    """All that hold, none that wait; again it changes nothing. Whether they do is up to them."""
    holder, waiter, third = [await join() for _ in range(3)]
    asked = acquire(1, name, mode=mode)
    asked.limit = 1 if mode == lock_pb2.MODE_PERMITS else 0
    granted = await holder.hold(asked)
    await third.queue(acquire(1, name))
    await waiter.queue(acquire(1, name))
    for _ in range(2):
        assert (await waiter.ask(session_pb2.RequestYield(acquire_id=1))).HasField("yield_asked")
    wish = (await holder.told("yield_requested")).yield_requested
    assert (wish.acquire_id, wish.name, wish.token) == (1, name, granted.token)
    assert not wish.HasField("remaining")
    assert [entry.asks_yield for entry in await stubs.entries(name)] == [False, False, True]
    await nothing_told(holder)
    await nothing_told(third)
    assert (await holder.ask(release(granted))).HasField("released")


async def test_an_acquire_can_ask_to_yield_from_the_start(join: Join, name: str) -> None:
    """All the readers are asked; one who comes to hold only later is not bothered, nor is one who did not wait."""
    first, second, waiter = [await join() for _ in range(3)]
    grants = [await reader.hold(asking(acquire(1, name, mode=lock_pb2.MODE_SHARED))) for reader in (first, second)]
    await nothing_told(first)
    await waiter.queue(asking(acquire(1, name)))
    for reader, granted in zip((first, second), grants, strict=True):
        assert (await reader.told("yield_requested")).yield_requested.token == granted.token
        await reader.ask(release(granted))
    await waiter.told("granted")
    await nothing_told(waiter)


async def test_one_that_holds_several_is_told_which_is_wanted(join: Join, name: str) -> None:
    """By the name in the wish; the token is that of the whole."""
    holder, waiter = await join(), await join()
    granted = await holder.hold(acquire_all(1, f"{name}/a", f"{name}/b"))
    await waiter.queue(asking(acquire(1, f"{name}/b")))
    wish = (await holder.told("yield_requested")).yield_requested
    assert (wish.acquire_id, wish.name, wish.token) == (1, f"{name}/b", granted.token)


async def test_what_does_not_wait_can_ask_nobody(join: Join, name: str) -> None:
    """Nothing of that name, or held by then, which is no error: the wish has come true."""
    wire = await join()
    assert await wire.refused(session_pb2.RequestYield(acquire_id=1)) == "WRONG_STATE"
    await wire.hold(acquire(1, name))
    assert (await wire.ask(session_pb2.RequestYield(acquire_id=1))).HasField("yield_asked")
    await nothing_told(wire)
