"""Permits: so many at once and no more, first come first served, and never beside a lock of the same name."""

import asyncio

import pytest
from google.rpc import error_details_pb2, status_pb2

import lockstream
from lockstream.v1 import lock_pb2, session_pb2
from tests.integration.conftest import Join
from tests.support.waiting import eventually, until_free
from tests.support.wire import NO_WAIT, acquire, permits, release


def trying(asked: session_pb2.Acquire) -> session_pb2.Acquire:
    """The same without waiting."""
    asked.no_wait.CopyFrom(NO_WAIT)
    return asked


def limit_told(error: status_pb2.Status) -> str:
    """The limit of the others, in the metadata of a LIMIT_MISMATCH."""
    info = error_details_pb2.ErrorInfo()
    assert error.details[0].Unpack(info)
    assert info.reason == "LIMIT_MISMATCH"
    assert info.metadata["retryable"] == "false"
    return info.metadata["limit"]


async def holding(client: lockstream.Client, name: str) -> set[int]:
    """The tokens that hold."""
    return {entry.token for entry in (await client.get_lock(name, linearizable=True)).holders}


async def test_as_many_hold_as_fit_into_the_limit(join: Join, client: lockstream.Client, name: str) -> None:
    """Through whichever server, in one session or in several; the next waits until enough is released."""
    first, second, third = [await join() for _ in range(3)]
    one = await first.hold(permits(1, name, 1, 4))
    two = await second.hold(permits(1, name, 2, 4))
    three = await first.hold(permits(2, name, 1, 4))
    assert (await third.queue(permits(1, name, 2, 4))).position == 1
    assert await holding(client, name) == {one.token, two.token, three.token}
    await first.ask(release(one))
    await first.ask(release(three))
    granted = (await third.told("granted")).granted
    assert await holding(client, name) == {two.token, granted.token}


async def test_no_permits_stated_is_one(join: Join, name: str) -> None:
    """A limit of one makes it a lock."""
    first, second = await join(), await join()
    await first.hold(permits(1, name, 0, 1))
    assert await second.refused(trying(permits(1, name, 0, 1))) == "WOULD_BLOCK"


async def test_a_heavy_waiter_is_not_overtaken(join: Join, client: lockstream.Client, name: str) -> None:
    """A light one behind it would fit, and waits all the same; it may not slip through by trying either."""
    holder, heavy, light, trier = [await join() for _ in range(4)]
    grants = [await holder.hold(permits(number, name, 1, 3)) for number in (1, 2)]
    await heavy.queue(permits(1, name, 3, 3))
    assert (await light.queue(permits(1, name, 1, 3))).position == 2
    assert await trier.refused(trying(permits(1, name, 1, 3))) == "WOULD_BLOCK"
    await holder.ask(release(grants[0]))
    assert await holding(client, name) == {grants[1].token}
    await holder.ask(release(grants[1]))
    heavily = (await heavy.told("granted")).granted
    assert await holding(client, name) == {heavily.token}
    await heavy.ask(release(heavily))
    assert (await light.told("granted")).granted.token > heavily.token


async def test_a_release_lets_in_all_that_fit(join: Join, name: str) -> None:
    """In the order in which they came, up to the first that does not fit."""
    holder, waiter = await join(), await join()
    all_of_it = await holder.hold(permits(1, name, 5, 5))
    for acquire_id, weight in enumerate((2, 2, 3, 1), start=1):
        assert (await waiter.queue(permits(acquire_id, name, weight, 5))).position == acquire_id
    await holder.ask(release(all_of_it))
    grants = [(await waiter.told("granted")).granted for _ in range(2)]
    assert [granted.acquire_id for granted in grants] == [1, 2]
    await waiter.ask(release(grants[0]))
    assert (await waiter.told("granted")).granted.acquire_id == 3
    await waiter.ask(release(grants[1]))
    assert (await waiter.told("granted")).granted.acquire_id == 4


async def test_a_heavy_waiter_that_leaves_lets_the_light_ones_in(join: Join, name: str) -> None:
    """Nobody released anything."""
    holder, heavy, light = [await join() for _ in range(3)]
    await holder.hold(permits(1, name, 1, 2))
    await heavy.queue(permits(1, name, 2, 2))
    await light.queue(permits(1, name, 1, 2))
    assert (await heavy.ask(session_pb2.Cancel(acquire_id=1))).HasField("cancelled")
    assert (await light.told("granted")).granted.acquire_id == 1


@pytest.mark.parametrize("waits", [True, False])
async def test_another_limit_than_that_of_the_others_is_refused(
    join: Join, client: lockstream.Client, name: str, waits: bool
) -> None:
    """Whether those hold or wait, and whether it would itself; it is told theirs, and nothing of it stays."""
    holder, other = await join(), await join()
    granted = await holder.hold(permits(1, name, 2, 2))
    asked = permits(1, name, 1, 3)
    error = (await other.ask(asked if waits else trying(asked))).error
    assert limit_told(error) == "2"
    await holder.queue(permits(2, name, 1, 2))
    await holder.ask(release(granted))
    second = (await holder.told("granted")).granted
    error = (await other.ask(permits(2, name, 1, 1))).error
    assert limit_told(error) == "2"
    assert await holding(client, name) == {second.token}
    await holder.ask(release(second))
    await until_free(client, name)
    await other.hold(permits(3, name, 1, 3))


async def test_another_limit_than_that_of_those_who_only_wait_is_refused(join: Join, name: str) -> None:
    """They wait for a lock, as this one would."""
    writer, waiter, other = [await join() for _ in range(3)]
    granted = await writer.hold(acquire(1, name))
    await waiter.queue(permits(1, name, 1, 2))
    assert limit_told((await other.ask(permits(1, name, 1, 3))).error) == "2"
    await writer.ask(release(granted))
    assert (await waiter.told("granted")).granted.acquire_id == 1


async def test_one_that_asks_with_a_wrong_limit_again_and_again_harms_nobody(join: Join, name: str) -> None:
    """Its entries stand in the queue for a moment each, and those who come just then are not compared with them."""
    holder, wrong, right = [await join() for _ in range(3)]
    await holder.hold(permits(1, name, 1, 1000))
    over = asyncio.Event()
    refused = 0

    async def ask_wrongly() -> None:
        nonlocal refused
        while not over.is_set():
            refused += 1
            assert limit_told((await wrong.ask(permits(refused, name, 1, 3))).error) == "1000"

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask_wrongly())
        acquire_id = 0
        while acquire_id < 50 or refused < 50:
            acquire_id += 1
            await right.ask(release(await right.have(permits(acquire_id, name, 1, 1000))))
        over.set()


@pytest.mark.parametrize("mode", [lock_pb2.MODE_EXCLUSIVE, lock_pb2.MODE_SHARED])
async def test_permits_and_locks_of_one_name_exclude_each_other(
    join: Join, name: str, mode: lock_pb2.Mode.ValueType
) -> None:
    """Both ways, in the order in which they came, and to those who do not wait as well."""
    taker, locker = await join(), await join()
    first = await taker.hold(permits(1, name, 1, 9))
    assert await locker.refused(trying(acquire(1, name, mode=mode))) == "WOULD_BLOCK"
    await locker.queue(acquire(2, name, mode=mode))
    await taker.queue(permits(2, name, 1, 9))
    await taker.ask(release(first))
    locked = (await locker.told("granted")).granted
    assert await taker.refused(trying(permits(3, name, 1, 9))) == "WOULD_BLOCK"
    assert taker.unread == []
    await locker.ask(release(locked))
    assert (await taker.told("granted")).granted.acquire_id == 2


async def test_permits_of_a_lost_session_are_free(join: Join, name: str) -> None:
    """All that it had, at once."""
    lost, waiter = await join(grace=0), await join()
    await lost.hold(permits(1, name, 1, 3))
    await lost.hold(permits(2, name, 2, 3))
    await waiter.queue(permits(1, name, 3, 3))
    await lost.cut()
    assert (await waiter.told("granted")).granted.acquire_id == 1


async def test_never_more_than_the_limit_hold_at_a_time(join: Join, name: str) -> None:
    """Many at three servers, of any weight, again and again."""
    limit, rounds = 5, 25
    taken = most = 0

    async def take_turns(number: int) -> None:
        nonlocal taken, most
        wire = await join()
        for turn in range(1, rounds + 1):
            weight = 1 + (number + turn) % 3
            granted = await wire.have(permits(turn, name, weight, limit))
            taken += weight
            most = max(most, taken)
            await asyncio.sleep(0)
            taken -= weight
            await wire.ask(release(granted))

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(take_turns(number))
    assert 3 < most <= limit
    await eventually(lambda: taken == 0, "all have given back")
