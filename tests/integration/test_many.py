"""Exclusive locks in numbers."""

import asyncio
from collections.abc import Sequence

import lockstream
from tests.support.waiting import eventually


class Counter:
    """A number that loses updates unless a lock protects it: it is read, time passes, it is written."""

    def __init__(self) -> None:
        self.value = 0

    async def increment(self, seconds: float) -> None:
        value = self.value
        await asyncio.sleep(seconds)  # everybody else gets a turn
        self.value = value + 1


async def test_an_unprotected_counter_loses_updates() -> None:
    """X7: what the locks below are needed for."""
    counter = Counter()
    await asyncio.gather(*(counter.increment(0) for _ in range(100)))
    assert counter.value < 100


async def test_a_hundred_sessions_increment_a_counter(three_clients: Sequence[lockstream.Client], name: str) -> None:
    """X7: through three servers, and nothing is lost."""
    counter = Counter()
    all_open = asyncio.Barrier(100)

    async def increment(client: lockstream.Client) -> None:
        async with client.session() as session:
            await all_open.wait()
            async with session.lock(name):
                await counter.increment(0.005)

    await asyncio.gather(*(increment(three_clients[number % 3]) for number in range(100)))
    assert counter.value == 100


async def test_a_thousand_tasks_of_one_session_increment_a_counter(client: lockstream.Client, name: str) -> None:
    """X7: each task is an owner of its own, and nothing is lost."""
    counter = Counter()

    async with client.session() as session:

        async def increment() -> None:
            async with session.lock(name):
                await counter.increment(0.001)

        await asyncio.gather(*(increment() for _ in range(1000)))
    assert counter.value == 1000


async def test_a_thousand_sessions_hold_a_thousand_locks(three_clients: Sequence[lockstream.Client], name: str) -> None:
    """X8: all at the same time, over three servers."""
    sessions = [three_clients[number % 3].session() for number in range(1000)]
    await asyncio.gather(*(session.open() for session in sessions))
    assert len({session.id for session in sessions}) == 1000
    locks = await asyncio.gather(
        *(session.acquire(f"{name}/{number:04}", wait=0) for number, session in enumerate(sessions))
    )
    assert all(lock.held for lock in locks)
    holders: list[str] = []

    async def all_shown() -> bool:
        holders[:] = [view.holders[0].session_id for view in await three_clients[0].list_locks(f"{name}/")]
        return len(holders) == 1000

    await eventually(all_shown, "one server shows the locks of all")
    assert holders == [session.id for session in sessions]
    await asyncio.gather(*(session.close() for session in sessions))


async def test_one_session_holds_a_thousand_locks_asked_for_at_once(client: lockstream.Client, name: str) -> None:
    """X8: and its end frees them all."""
    async with client.session() as session:
        locks = await asyncio.gather(*(session.acquire(f"{name}/{number}", wait=0) for number in range(1000)))
        assert all(lock.held for lock in locks)
        assert await client.check_token(locks[-1].name, locks[-1].token)
    views = await asyncio.gather(*(client.get_lock(lock.name, linearizable=True) for lock in locks))
    assert not any(view.entries for view in views)


async def test_one_session_takes_one_lock_a_hundred_times(client: lockstream.Client, name: str) -> None:
    """X9: each grant has a newer token."""
    tokens = []
    async with client.session() as session:
        for _ in range(100):
            async with session.lock(name, wait=0) as lock:
                tokens.append(lock.token)
    assert tokens == sorted(set(tokens))


async def test_one_session_takes_a_hundred_locks_one_after_the_other(client: lockstream.Client, name: str) -> None:
    """X9: and gives them back in the same order."""
    async with client.session() as session:
        locks = [await session.acquire(f"{name}/{number}", wait=0) for number in range(100)]
        for number, lock in enumerate(locks):
            await lock.release()
            assert await session.try_lock(f"{name}/{number}", shared=True) is not None


async def test_of_two_first_tries_at_two_servers_exactly_one_is_granted(
    three_clients: Sequence[lockstream.Client], name: str
) -> None:
    """X10: 1000 rounds, a hundred at a time."""
    async with three_clients[0].session() as one, three_clients[1].session() as two:

        async def race(number: int) -> str:
            sessions = (one, two) if number % 2 else (two, one)
            tries = await asyncio.gather(*(session.try_lock(f"{name}/{number}") for session in sessions))
            (winner,) = [lock for lock in tries if lock is not None]
            await winner.release()
            return winner.session.id

        winners = [await asyncio.gather(*map(race, range(start, start + 100))) for start in range(0, 1000, 100)]
    assert sum(map(len, winners)) == 1000
    assert {winner for batch in winners for winner in batch} == {one.id, two.id}  # it was a race


async def test_of_two_first_acquires_at_two_servers_one_waits_for_the_other(
    three_clients: Sequence[lockstream.Client], name: str
) -> None:
    """X10: 1000 rounds, a hundred at a time; the second is granted no sooner than the first releases."""
    async with three_clients[0].session() as one, three_clients[1].session() as two:

        async def race(number: int) -> None:
            holders: list[lockstream.Lock] = []

            async def take(session: lockstream.Session) -> int:
                async with session.lock(f"{name}/{number}") as lock:
                    holders.append(lock)
                    await asyncio.sleep(0)
                    assert [holder.session.id for holder in holders] == [session.id]
                    holders.remove(lock)
                    return lock.token

            tokens = await asyncio.gather(*map(take, (one, two) if number % 2 else (two, one)))
            assert tokens[0] != tokens[1]

        for start in range(0, 1000, 100):
            await asyncio.gather(*map(race, range(start, start + 100)))
