"""What is found of tasks that are left."""

import asyncio

from tests.support.tasks import tasks_left


async def test_a_task_that_ends_is_waited_for_and_one_that_does_not_is_told() -> None:
    async def stubborn() -> None:
        await asyncio.Event().wait()

    ending = asyncio.ensure_future(asyncio.sleep(0.05))
    assert await tasks_left() == ()
    assert ending.done()
    left = asyncio.ensure_future(stubborn())
    [told] = await tasks_left()
    assert "stubborn" in told
    left.cancel()
    assert await tasks_left() == ()
