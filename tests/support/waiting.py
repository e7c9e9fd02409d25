"""Waiting without blocking the event loop, for any condition and for what etcd has committed of a lock."""

import asyncio
from collections.abc import Awaitable, Callable

import lockstream

_POLL_SECONDS = 0.01


async def eventually(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]],
    what: str,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109 - its end tells what was awaited
) -> None:
    """Return as soon as `condition()`, a plain or a coroutine function, is true.

    Raises:
        TimeoutError: it was not within `timeout` seconds; `what` names the thing awaited.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        if loop.time() >= deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        await asyncio.sleep(_POLL_SECONDS)


async def until_queued(client: lockstream.Client, name: str, waiters: int) -> lockstream.LockView:
    """Return the lock once exactly so many wait for it."""
    views: list[lockstream.LockView] = []

    async def queued() -> bool:
        views.append(await client.get_lock(name, linearizable=True))
        return len(views[-1].waiters) == waiters

    await eventually(queued, f"{waiters} waiting for {name!r}")
    return views[-1]


async def until_free(client: lockstream.Client, name: str) -> None:
    """Return once nobody holds or awaits the lock."""

    async def free() -> bool:
        return not (await client.get_lock(name, linearizable=True)).entries

    await eventually(free, f"{name!r} free")
