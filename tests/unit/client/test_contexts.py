"""`async with session.lock(...)`: one context is used by one task at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import lockstream
from lockstream import ErrorReason

if TYPE_CHECKING:
    from tests.unit.client.conftest import Play


async def test_a_context_that_waits_is_in_use(play: Play) -> None:
    """Else the first who leaves would release what the second one holds, and one hold would stay for ever."""
    context = play.session.lock("a", shared=True)
    entering = asyncio.create_task(context.__aenter__())
    await play.stream.expect("acquire")
    with pytest.raises(lockstream.WrongState, match="in use"):
        await context.__aenter__()
    entering.cancel()
    await play.stream.cancel()


async def test_a_context_that_is_held_is_in_use(play: Play) -> None:
    context = play.session.lock_all(["a", "b"])
    lock, _ = await asyncio.gather(context.__aenter__(), play.stream.grant(action="acquire_all"))
    with pytest.raises(lockstream.WrongState, match="in use"):
        await context.__aenter__()
    assert lock.held
    await asyncio.gather(context.__aexit__(None, None, None), play.stream.release())


async def test_a_context_may_be_used_again(play: Play) -> None:
    context = play.session.lock("a")
    for token in (7, 8):
        lock, _ = await asyncio.gather(context.__aenter__(), play.stream.grant(token))
        assert lock.token == token
        await asyncio.gather(context.__aexit__(None, None, None), play.stream.release())


async def test_a_context_may_be_used_again_after_it_could_not_be_entered(play: Play) -> None:
    context = play.session.lock("a", wait=0)
    entering = asyncio.create_task(context.__aenter__())
    await play.stream.refuse(await play.stream.expect("acquire"), ErrorReason.WOULD_BLOCK)
    with pytest.raises(lockstream.WouldBlock):
        await entering
    entering = asyncio.create_task(context.__aenter__())
    await play.stream.expect("acquire")
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await play.stream.cancel()
    lock, _ = await asyncio.gather(context.__aenter__(), play.stream.grant())
    assert lock.held
    await asyncio.gather(context.__aexit__(None, None, None), play.stream.release())
