"""Holds and queues that stand while something happens, and what must be true of them afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import lockstream
from tests.support.waiters import queue_up
from tests.support.waiting import until_queued

HOLDS = 12
QUEUES = 3
WAITERS = 5
"""In each queue, each of a session of its own."""


@dataclass(slots=True)
class Queue:
    """A lock with those who wait for it, in the order in which they asked."""

    name: str
    holder: lockstream.Lock
    waiting: Sequence[asyncio.Task[lockstream.Lock]]
    tokens: Sequence[int] = ()
    """Of the holder and of all who wait, as the service had them in the beginning."""


@dataclass(slots=True)
class Standing:
    """What stands. Every session is one of a client that can reach every server, in turn beginning with another."""

    client: lockstream.Client
    sessions: list[lockstream.Session] = field(default_factory=list)
    holds: list[lockstream.Lock] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)
    losses: list[lockstream.LossReason] = field(default_factory=list)
    """Of which any holder was told."""

    def told(self, reason: lockstream.LossReason | None) -> None:
        """A holder was told of a loss, or has released its lock."""
        if reason is not None:
            self.losses.append(reason)

    async def assert_nothing_lost(self) -> None:
        """Every hold stands, as its holder and as etcd have it, and every place in every queue is what it was."""
        assert self.losses == []
        for lock in [*self.holds, *(queue.holder for queue in self.queues)]:
            assert lock.held
            assert await self.client.check_token(lock.name, lock.token)
        for queue in self.queues:
            assert not any(waiting.done() for waiting in queue.waiting)
            view = await until_queued(self.client, queue.name, len(queue.waiting))
            assert [entry.token for entry in view.entries] == queue.tokens

    async def assert_order_kept(self) -> None:
        """Every queue is granted one by one in the order of its acquires, each with the token it came with."""
        for queue in self.queues:
            granted: list[int] = [queue.holder.token]
            await queue.holder.release()
            for place, waiting in enumerate(queue.waiting):
                lock = await waiting
                assert not any(later.done() for later in queue.waiting[place + 1 :])
                granted.append(lock.token)
                await lock.release()
            assert granted == queue.tokens == sorted(granted)
        assert self.losses == []

    def proven_since(self, moment: float) -> bool:
        """Whether the lease of every session was renewed after this moment of CLOCK_MONOTONIC."""
        return all(time.monotonic() + session.remaining > moment + session.ttl for session in self.sessions)


@asynccontextmanager
async def standing(targets: Sequence[str], ttl: float) -> AsyncIterator[Standing]:
    """Holds, and queues of waiters that have their places."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(lockstream.connect(",".join([*targets[place:], *targets[:place]]), ttl=ttl))
            for place in range(len(targets))
        ]
        there = Standing(clients[0])

        async def session() -> lockstream.Session:
            client = clients[len(there.sessions) % len(clients)]
            there.sessions.append(await stack.enter_async_context(client.session()))
            return there.sessions[-1]

        for number in range(HOLDS):
            there.holds.append(await (await session()).acquire(f"standing/{number}"))
        for number in range(QUEUES):
            name = f"queue/{number}"
            holder = await (await session()).acquire(name)
            waiting = [await queue_up(await session(), name) for _ in range(WAITERS)]
            view = await until_queued(there.client, name, WAITERS)
            there.queues.append(Queue(name, holder, waiting, [entry.token for entry in view.entries]))
        for lock in [*there.holds, *(queue.holder for queue in there.queues)]:
            lock.listen(there.told)
        yield there
