"""What is left of asyncio's tasks once everything is closed."""

import asyncio
from contextlib import suppress

from tests.support.waiting import eventually

ENDING_SECONDS = 5.0
"""Time for tasks that were cancelled to end."""


async def tasks_left() -> tuple[str, ...]:
    """The tasks of this loop but the one that asks, as soon as there are none, or else those that do not end."""

    def others() -> set["asyncio.Task[object]"]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    with suppress(TimeoutError):
        await eventually(lambda: not others(), "no task left", timeout=ENDING_SECONDS)
    return tuple(sorted(map(repr, others())))
