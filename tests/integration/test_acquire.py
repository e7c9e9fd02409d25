"""Exclusive locks: being granted, waiting, and ceasing to wait."""

import asyncio
import time

import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.support.server import ServerProcess
from tests.support.waiting import until_free, until_queued
from tests.support.wire import Wire, acquire, reason, release, try_acquire

AT_ONCE_SECONDS = 0.1
"""What a refusal or a withdrawal may take."""
ATTEMPTS = 5
"""The fastest of so many counts: one may meet a busy machine, a wait would slow down all of them."""


async def test_a_free_lock_is_granted_in_one_round_trip(server: ServerProcess, name: str) -> None:
    """X1: the reply is the grant, and after a release another client's reply is too."""
    async with Wire(server.target) as first, Wire(server.target) as second:
        await first.open()
        await second.open()
        granted = (await first.ask(acquire(1, name))).granted
        assert granted.token > 0
        assert (await first.ask(release(granted))).HasField("released")
        again = (await second.ask(try_acquire(1, name))).granted
        assert again.token > granted.token


async def test_a_release_grants_the_lock_to_whoever_waits(client: lockstream.Client, name: str) -> None:
    """X1: the next in the queue has it, with a newer token."""
    async with client.session() as holder, client.session() as waiter:
        held = await holder.acquire(name)
        waiting = asyncio.create_task(waiter.acquire(name))
        await until_queued(client, name, 1)
        await held.release()
        async with asyncio.timeout(1):
            lock = await waiting
        assert lock.token > held.token


async def test_not_waiting_for_a_held_lock_is_refused_at_once(client: lockstream.Client, name: str) -> None:
    """X2: WOULD_BLOCK within 100 ms, nothing queued."""
    async with client.session() as holder, client.session() as other:
        await holder.acquire(name)
        took = []
        for _ in range(ATTEMPTS):
            began = time.monotonic()
            with pytest.raises(lockstream.WouldBlock):
                await other.acquire(name, wait=0)
            took.append(time.monotonic() - began)
        assert min(took) < AT_ONCE_SECONDS
        view = await client.get_lock(name, linearizable=True)
        assert [entry.session_id for entry in view.entries] == [holder.id]


async def test_a_refused_acquire_leaves_nothing_to_release(server: ServerProcess, name: str) -> None:
    """X2: for the service there is no such acquire, and the same id may be used anew."""
    async with Wire(server.target) as holder, Wire(server.target) as other:
        await holder.open()
        await other.open()
        granted = (await holder.ask(acquire(1, name))).granted
        assert reason((await other.ask(try_acquire(1, name))).error) == "WOULD_BLOCK"
        refused = await other.ask(session_pb2.Release(acquire_id=1, token=granted.token))
        assert reason(refused.error) == "NOT_HELD"
        assert (await holder.ask(release(granted))).HasField("released")
        assert (await other.ask(try_acquire(1, name))).HasField("granted")


async def test_a_wait_ends_when_its_time_is_over(client: lockstream.Client, name: str) -> None:
    """X3: WAIT_TIMEOUT after 0.5 s, the entry is gone and the next waiter moves up."""
    async with client.session() as holder, client.session() as impatient, client.session() as patient:
        held = await holder.acquire(name)
        began = time.monotonic()
        giving_up = asyncio.create_task(impatient.acquire(name, wait=0.5))
        await until_queued(client, name, 1)
        waiting = asyncio.create_task(patient.acquire(name))
        await until_queued(client, name, 2)
        with pytest.raises(lockstream.WaitTimeout):
            await giving_up
        assert 0.5 <= time.monotonic() - began < 0.9
        view = await client.get_lock(name, linearizable=True)
        assert [entry.session_id for entry in view.entries] == [holder.id, patient.id]
        assert view.waiters[0].position == 1
        await held.release()
        assert (await waiting).held


async def test_the_shortest_wait_is_a_timeout(client: lockstream.Client, name: str) -> None:
    """X4: one millisecond never means for ever."""
    async with client.session() as holder, client.session() as other:
        await holder.acquire(name)
        async with asyncio.timeout(1):
            with pytest.raises(lockstream.WaitTimeout):
                await other.acquire(name, wait=0.001)


async def test_a_wait_of_zero_is_refused_and_never_for_ever(server: ServerProcess, name: str) -> None:
    """X4: a timeout that rounds to nothing is INVALID_ARGUMENT."""
    async with Wire(server.target) as wire:
        await wire.open()
        for seconds in (0, -1):
            asked = acquire(1, name)
            asked.timeout.FromSeconds(seconds)
            assert reason((await wire.ask(asked)).error) == "INVALID_ARGUMENT"


async def test_forever_waits_on_when_others_have_given_up(client: lockstream.Client, name: str) -> None:
    """X4: who waits for ever outlasts who waits for a second, and is granted in the end."""
    async with client.session() as holder, client.session() as patient, client.session() as impatient:
        held = await holder.acquire(name)
        waiting = asyncio.create_task(patient.acquire(name, wait=None))
        await until_queued(client, name, 1)
        with pytest.raises(lockstream.WaitTimeout):
            await impatient.acquire(name, wait=1)
        assert not waiting.done()
        await held.release()
        assert (await waiting).held


async def test_a_cancelled_wait_is_over_at_once(server: ServerProcess, client: lockstream.Client, name: str) -> None:
    """X5: CANCELLED within 100 ms, the entry gone by then."""
    async with Wire(server.target) as holder, Wire(server.target) as waiter:
        await holder.open()
        await waiter.open()
        await holder.ask(acquire(1, name))
        took = []
        for acquire_id in range(1, ATTEMPTS + 1):
            assert (await waiter.ask(acquire(acquire_id, name))).HasField("queued")
            began = time.monotonic()
            reply = await waiter.ask(session_pb2.Cancel(acquire_id=acquire_id))
            ended = (await waiter.event()).wait_ended
            took.append(time.monotonic() - began)
            assert reply.HasField("cancelled")
            assert not reply.cancelled.was_granted
            assert ended.acquire_id == acquire_id
            assert reason(ended.error) == "CANCELLED"
            assert not (await client.get_lock(name, linearizable=True)).waiters
        assert min(took) < AT_ONCE_SECONDS


async def test_a_cancelled_task_leaves_the_queue(client: lockstream.Client, name: str) -> None:
    """X5: cancelling the task that waits is enough."""
    async with client.session() as holder, client.session() as waiter:
        await holder.acquire(name)
        waiting = asyncio.create_task(waiter.acquire(name))
        await until_queued(client, name, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        view = await until_queued(client, name, 0)
        assert [entry.session_id for entry in view.holders] == [holder.id]


async def test_a_cancel_that_races_with_the_grant_leaks_nothing(client: lockstream.Client, name: str) -> None:
    """X5: 300 times the holder releases while the waiter is cancelled, a little earlier or later."""
    async with client.session() as holder, client.session() as waiter:

        async def race(number: int) -> bool:
            lock_name = f"{name}/{number}"
            held = await holder.acquire(lock_name)
            queued = asyncio.Event()
            waiting = asyncio.create_task(waiter.acquire(lock_name, on_wait=lambda _: queued.set()))
            await queued.wait()
            releasing = asyncio.create_task(held.release())
            for _ in range(number % 30):  # turns of the event loop, so that either may be first
                await asyncio.sleep(0)
            waiting.cancel()
            await releasing
            try:
                lock = await waiting
            except asyncio.CancelledError:
                granted = False
            else:
                granted = True
                await lock.release()
            await until_free(client, lock_name)
            return granted

        for batch in range(0, 300, 50):
            await asyncio.gather(*(race(number) for number in range(batch, batch + 50)))
