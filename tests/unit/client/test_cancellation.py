"""A cancelled task leaves no lock behind, and a lost lock cancels the task that relies on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import lockstream
from lockstream import LossReason
from lockstream.v1 import errors_pb2, session_pb2

if TYPE_CHECKING:
    from tests.unit.client.conftest import Play


def lost(request: session_pb2.Request, token: int = 7) -> session_pb2.Event:
    return session_pb2.Event(
        lost=session_pb2.Lost(
            acquire_id=request.acquire.acquire_id,
            name=request.acquire.name,
            token=token,
            reason=errors_pb2.LOSS_REASON_REMOVED_EXTERNALLY,
        )
    )


async def test_a_cancelled_waiter_leaves_the_queue(play: Play) -> None:
    """X5."""
    asking = asyncio.create_task(play.session.acquire("a"))
    request = await play.stream.queue()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    cancel = await play.stream.cancel()
    assert cancel.cancel.acquire_id == request.acquire.acquire_id


async def test_a_grant_that_races_with_the_cancellation_is_given_back(play: Play) -> None:
    """X5: the grant is read, and the task cancelled before it runs again."""
    asking = asyncio.create_task(play.session.acquire("a", on_wait=lambda _: None))
    request = await play.stream.queue()
    granted = session_pb2.Granted(acquire_id=request.acquire.acquire_id, token=9)
    asking.cancel()
    await play.stream.push(session_pb2.Event(granted=granted))
    with pytest.raises(asyncio.CancelledError):
        await asking
    await play.stream.cancel()


async def test_the_next_acquire_of_an_owner_waits_until_the_cancelled_one_is_gone(
    play: Play,
) -> None:
    async def impatient() -> lockstream.Lock:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await play.session.acquire("a")
        return await play.session.acquire("a")

    asking = asyncio.create_task(impatient())
    await play.stream.queue()
    cancel = await play.stream.expect("cancel")
    await play.acquire("another")
    assert play.granted.acquire.name == "another"  # and not yet "a"
    await play.stream.reply(cancel, session_pb2.Reply(cancelled=session_pb2.Cancelled()))
    assert (await play.stream.grant()).acquire.name == "a"
    await asking


async def test_a_cancelled_release_still_releases(play: Play) -> None:
    lock = await play.acquire("a")
    releasing = asyncio.create_task(lock.release())
    request = await play.stream.expect("release")
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    await play.stream.reply(request, session_pb2.Reply(released=session_pb2.Released()))


async def test_an_error_in_the_body_releases(play: Play) -> None:
    """L6."""

    async def body() -> None:
        async with play.session.lock("a"):
            raise ZeroDivisionError

    running = asyncio.create_task(body())
    await play.stream.grant()
    await play.stream.release()
    with pytest.raises(ZeroDivisionError):
        await running


async def test_a_loss_cancels_the_body_and_raises_lock_lost(play: Play) -> None:
    """L1, at the client."""
    cancelled = 0

    async def body() -> None:
        nonlocal cancelled
        async with play.session.lock("a"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise

    running = asyncio.create_task(body())
    await play.stream.push(lost(await play.stream.grant()))
    with pytest.raises(lockstream.LockLost) as raised:
        await running
    assert raised.value.reason is LossReason.REMOVED_EXTERNALLY
    assert cancelled == 1
    assert running.cancelling() == 0


async def test_the_task_goes_on_after_the_loss(play: Play) -> None:
    async def body() -> str:
        with pytest.raises(lockstream.LockLost):
            async with play.session.lock("a"):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        return "still here"

    running = asyncio.create_task(body())
    await play.stream.push(lost(await play.stream.grant()))
    assert await running == "still here"


async def test_of_nested_locks_the_inner_loss_ends_the_inner_body_only(play: Play) -> None:
    async def body() -> None:
        async with play.session.lock("outer"):
            with pytest.raises(lockstream.LockLost, match="inner"):
                async with play.session.lock("inner"):
                    await asyncio.Event().wait()

    running = asyncio.create_task(body())
    await play.stream.grant()
    await play.stream.push(lost(await play.stream.grant()))
    await play.stream.release()
    await running


async def test_nested_locks_lost_together_are_reported_by_the_outer(play: Play) -> None:
    async def body() -> None:
        async with play.session.lock("outer"), play.session.lock("inner"):
            await asyncio.Event().wait()

    running = asyncio.create_task(body())
    requests = [await play.stream.grant() for _ in range(2)]
    await play.stream.push(*map(lost, requests))
    with pytest.raises(lockstream.LockLost, match="outer"):
        await running
    assert running.cancelling() == 0


async def test_somebody_elses_cancellation_stays_a_cancellation(play: Play) -> None:
    async def body() -> None:
        # Both cancellations reach the task before it runs again.
        async with play.session.lock("a", on_lost=lambda _lock, _reason: running.cancel()):
            await asyncio.Event().wait()

    running = asyncio.create_task(body())
    await play.stream.push(lost(await play.stream.grant()))
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_without_cancel_on_loss_the_body_goes_on_and_the_end_tells(play: Play) -> None:
    seen: list[LossReason | None] = []

    async def body() -> None:
        async with play.session.lock("a", cancel_on_loss=False) as lock:
            seen.append(await lock.lost.wait())

    running = asyncio.create_task(body())
    await play.stream.push(lost(await play.stream.grant()))
    with pytest.raises(lockstream.LockLost):
        await running
    assert seen == [LossReason.REMOVED_EXTERNALLY]


async def test_the_bodys_own_error_goes_before_the_loss(play: Play) -> None:
    async def body() -> None:
        async with play.session.lock("a", cancel_on_loss=False) as lock:
            await lock.lost.wait()
            raise ZeroDivisionError

    running = asyncio.create_task(body())
    await play.stream.push(lost(await play.stream.grant()))
    with pytest.raises(ZeroDivisionError):
        await running


async def test_released_is_not_lost(play: Play) -> None:
    """L3."""
    lock = await play.acquire("a")
    watching = asyncio.create_task(lock.lost.wait())
    await asyncio.gather(lock.release(), play.stream.release())
    assert await watching is None
