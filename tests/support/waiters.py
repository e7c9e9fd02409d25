"""Acquires that are known to wait, and how long it takes until they do no longer."""

import asyncio

import lockstream

SLACK_SECONDS = 1.0
"""What a busy machine may add to whatever is to happen at a moment."""


async def queue_up(session: lockstream.Session, name: str, *, shared: bool = False) -> asyncio.Task[lockstream.Lock]:
    """An acquire of a lock that is taken; it is in the queue on return."""
    queued = asyncio.Event()
    acquiring = asyncio.create_task(session.acquire(name, shared=shared, on_wait=lambda _: queued.set()))
    await queued.wait()
    return acquiring


class Stopwatch:
    """Runs from when it is made, by the event loop's clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return self._loop.time() - self._started_at
