"""Locks that their owners acquire again while they hold them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import lockstream
from lockstream import ErrorReason, LossReason
from tests.unit.client.scripted import lost

if TYPE_CHECKING:
    from tests.unit.client.conftest import Play


async def test_the_owner_gets_the_same_lock_again_until_the_outermost_release(play: Play) -> None:
    async def outer() -> None:
        async with play.session.lock("a", reentrant=True) as first:
            async with play.session.lock("a", reentrant=True) as second:
                assert second is first
            third = await play.session.acquire("a", reentrant=True, wait=0)
            assert third is first
            await third.release()
            assert first.held
        assert not first.held

    running = asyncio.create_task(outer())
    await play.stream.grant()
    await play.stream.release()  # comes right after the acquire, or `expect` fails
    await running


async def test_after_the_last_release_it_is_acquired_anew(play: Play) -> None:
    async def twice() -> list[int]:
        tokens = []
        for _ in range(2):
            async with play.session.lock("a", reentrant=True) as lock:
                tokens.append(lock.token)
        return tokens

    running = asyncio.create_task(twice())
    for token in (7, 8):
        await play.stream.grant(token)
        await play.stream.release()
    assert await running == [7, 8]


async def test_one_release_too_many_is_refused(play: Play) -> None:
    lock = await play.acquire("a", reentrant=True, owner="me")
    assert await play.session.acquire("a", reentrant=True, owner="me") is lock
    await lock.release()
    await asyncio.gather(lock.release(), play.stream.release())
    with pytest.raises(lockstream.NotHeld):
        await lock.release()


async def test_other_owners_and_names_are_acquired(play: Play) -> None:
    mine = await play.acquire("a", reentrant=True, owner="me", token=7)
    other_name = await play.acquire("b", reentrant=True, owner="me", token=8)
    other_owner = await play.acquire("a", reentrant=True, owner="you", token=9)
    assert [lock.token for lock in (mine, other_name, other_owner)] == [7, 8, 9]


@pytest.mark.parametrize(("outer", "inner"), [(True, False), (False, True)])
async def test_both_must_say_so(play: Play, outer: bool, inner: bool) -> None:
    await play.acquire("a", reentrant=outer, owner="me")
    asking = asyncio.create_task(play.session.acquire("a", reentrant=inner, owner="me"))
    await play.stream.refuse(await play.stream.expect("acquire"), ErrorReason.ALREADY_HELD)
    with pytest.raises(lockstream.AlreadyHeld):
        await asking


async def test_a_lock_that_was_downgraded_is_not_entered(play: Play) -> None:
    """Who enters relies on being alone."""
    lock = await play.acquire("a", reentrant=True, owner="me")
    await asyncio.gather(lock.downgrade(), play.stream.downgrade())
    asking = asyncio.create_task(play.session.acquire("a", reentrant=True, owner="me"))
    await play.stream.refuse(await play.stream.expect("acquire"), ErrorReason.ALREADY_HELD)
    with pytest.raises(lockstream.AlreadyHeld):
        await asking


async def test_a_lost_lock_is_acquired_anew(play: Play) -> None:
    lock = await play.acquire("a", reentrant=True, owner="me", token=7)
    await play.stream.push(lost(play.granted, 7, LossReason.REMOVED_EXTERNALLY))
    await lock.lost.wait()
    again = await play.acquire("a", reentrant=True, owner="me", token=8)
    assert (again.token, again.held) == (8, True)
    assert not lock.held


async def test_a_loss_ends_the_outer_body_once(play: Play) -> None:
    async def body() -> None:
        async with play.session.lock("a", reentrant=True), play.session.lock("a", reentrant=True):
            await asyncio.Event().wait()

    running = asyncio.create_task(body())
    request = await play.stream.grant()
    await play.stream.push(lost(request, 7, LossReason.REMOVED_EXTERNALLY))
    with pytest.raises(lockstream.LockLost):
        await running
    assert running.cancelling() == 0


async def test_an_error_in_the_inner_body_leaves_the_lock_to_the_outer(play: Play) -> None:
    async def body() -> bool:
        async with play.session.lock("a", reentrant=True) as lock:
            with pytest.raises(ZeroDivisionError):
                async with play.session.lock("a", reentrant=True):
                    raise ZeroDivisionError
            return lock.held

    running = asyncio.create_task(body())
    await play.stream.grant()
    await play.stream.release()
    assert await running
