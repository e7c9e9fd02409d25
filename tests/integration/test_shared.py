"""Shared locks: readers together, writers alone, and nobody overtakes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import lockstream
from tests.support.holder import Holder
from tests.support.server import ServerProcess
from tests.support.waiters import queue_up
from tests.support.waiting import eventually, until_queued

TURNS = 5
GRANTS_PER_TURN = 100
PATIENCE_SECONDS = 5.0
"""What a turn may take among others that never cease; they need milliseconds for theirs."""


@pytest.fixture
async def sessions(three_clients: Sequence[lockstream.Client]) -> AsyncIterator[Sequence[lockstream.Session]]:
    """Twelve sessions at three servers."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(three_clients[number % 3].session()) for number in range(12)]


async def test_readers_share(client: lockstream.Client, sessions: Sequence[lockstream.Session], name: str) -> None:
    """R1: whether they try or wait, and through whichever server."""
    await asyncio.gather(*(session.acquire(name, shared=True) for session in sessions[:3]))
    for session in sessions[3:]:
        assert await session.try_lock(name, shared=True) is not None
    assert len((await client.get_lock(name, linearizable=True)).holders) == len(sessions)


async def test_a_writer_waits_for_all_readers(sessions: Sequence[lockstream.Session], name: str) -> None:
    """R1: a try is refused, a wait lasts until the last reader has gone."""
    readers = [await session.acquire(name, shared=True) for session in sessions[:2]]
    assert await sessions[2].try_lock(name) is None
    writing = await queue_up(sessions[2], name)
    for reader in readers:
        assert not writing.done()
        await reader.release()
    assert (await writing).held


async def test_a_writer_excludes_readers_and_writers(
    client: lockstream.Client, sessions: Sequence[lockstream.Session], name: str
) -> None:
    """R1: a try is refused, a wait lasts until the writer has gone; readers are then granted together."""
    writer = await sessions[0].acquire(name)
    for shared in (False, True):
        assert await sessions[1].try_lock(name, shared=shared) is None
    reading = [await queue_up(session, name, shared=True) for session in sessions[2:5]]
    writing = await queue_up(sessions[5], name)
    assert not any(task.done() for task in (*reading, writing))
    await writer.release()
    readers = await asyncio.gather(*reading)
    assert {entry.token for entry in (await client.get_lock(name, linearizable=True)).holders} == {
        lock.token for lock in readers
    }
    assert not writing.done()
    for reader in readers:
        await reader.release()
    assert (await writing).held


@pytest.mark.parametrize("active", [1, 2])
async def test_a_reader_does_not_overtake_a_waiting_writer(
    sessions: Sequence[lockstream.Session], name: str, active: int
) -> None:
    """R2: not even by trying; the writer goes first, then the reader."""
    readers = [await session.acquire(name, shared=True) for session in sessions[:active]]
    writing = await queue_up(sessions[2], name)
    assert await sessions[3].try_lock(name, shared=True) is None
    reading = await queue_up(sessions[4], name, shared=True)
    for reader in readers:
        assert not writing.done()
        await reader.release()
    writer = await writing
    assert not reading.done()
    await writer.release()
    assert (await reading).token > writer.token


class Ledger:
    """What happens to one lock that many ask for again and again."""

    def __init__(self) -> None:
        self.grants: list[tuple[bool, int]] = []
        """In the order in which they were told: is it a reader, and its token."""
        self.holding = 0
        """How many do now."""
        self.over = False
        """Whether it is time to stop asking."""

    @asynccontextmanager
    async def turn(self, lock: lockstream.LockContext, *, reader: bool) -> AsyncIterator[None]:
        """Holds the lock during the body."""
        async with lock as held:
            self.grants.append((reader, held.token))
            self.holding += 1
            try:
                yield
            finally:
                self.holding -= 1

    @asynccontextmanager
    async def pressure(
        self, take_a_turn: Callable[[lockstream.Session], Awaitable[None]], sessions: Sequence[lockstream.Session]
    ) -> AsyncIterator[None]:
        """Until the end of the block, the sessions ask again as soon as they have had their turn."""

        async def ask_for_ever(session: lockstream.Session) -> None:
            while not self.over:
                await take_a_turn(session)

        async with asyncio.TaskGroup() as tasks:
            for session in sessions:
                tasks.create_task(ask_for_ever(session))
            try:
                yield
            finally:
                self.over = True

    async def until_grants(self, count: int) -> None:
        """Wait until there were so many in all."""
        await eventually(lambda: len(self.grants) >= count, f"{count} grants")

    def assert_nobody_overtook(self, *, readers: bool) -> None:
        """Every turn of the few, readers or writers, came before whoever asked after them."""
        turns = [index for index, (reader, _) in enumerate(self.grants) if reader is readers]
        assert len(turns) == TURNS
        tokens = [token for _, token in self.grants]
        for index in turns:
            assert all(token < tokens[index] for token in tokens[:index])
            assert all(token > tokens[index] for token in tokens[index + 1 :])


async def test_readers_that_never_cease_do_not_starve_a_writer(
    sessions: Sequence[lockstream.Session], name: str
) -> None:
    """R3: none leaves as the last but to let another in, so a writer that they overtook would never have its turn."""
    ledger = Ledger()
    queued: set[lockstream.Session] = set()

    async def read(session: lockstream.Session) -> None:
        lock = session.lock(name, shared=True, on_wait=lambda _: queued.add(session))
        async with ledger.turn(lock, reader=True):
            queued.discard(session)
            await eventually(lambda: ledger.holding > 1 or len(queued) > 0 or ledger.over, "another reader")

    *reading, writer = sessions
    async with ledger.pressure(read, reading):
        for turn in range(1, TURNS + 1):
            await ledger.until_grants(GRANTS_PER_TURN * turn)
            async with ledger.turn(writer.lock(name, wait=PATIENCE_SECONDS), reader=False):
                assert ledger.holding == 1
        await ledger.until_grants(GRANTS_PER_TURN * (TURNS + 1))
    ledger.assert_nobody_overtook(readers=False)


async def test_writers_that_never_cease_do_not_starve_a_reader(
    sessions: Sequence[lockstream.Session], name: str
) -> None:
    """R3: there is always a writer in the queue when the reader asks."""
    ledger = Ledger()

    async def write(session: lockstream.Session) -> None:
        async with ledger.turn(session.lock(name), reader=False):
            assert ledger.holding == 1

    places: list[int] = []
    *writing, reader = sessions
    async with ledger.pressure(write, writing):
        for turn in range(1, TURNS + 1):
            await ledger.until_grants(GRANTS_PER_TURN * turn)
            waiting = reader.lock(name, shared=True, wait=PATIENCE_SECONDS, on_wait=places.append)
            async with ledger.turn(waiting, reader=True):
                assert ledger.holding == 1
        await ledger.until_grants(GRANTS_PER_TURN * (TURNS + 1))
    ledger.assert_nobody_overtook(readers=True)
    assert len(places) >= TURNS, "told of its place each time, and again when it moved up"
    assert max(places) > 1


async def test_a_crash_of_a_reader_frees_its_own_share_only(
    server: ServerProcess, client: lockstream.Client, sessions: Sequence[lockstream.Session], name: str, tmp_path: Path
) -> None:
    """R4: the other reader keeps the writer waiting; the writer, once granted, is joined by nobody."""
    doomed = Holder(server.target, name, tmp_path, ttl=10, grace=0, shared=True)
    with doomed.process:
        await doomed.holds()
        reader = await sessions[0].acquire(name, shared=True, wait=0)
        writing = await queue_up(sessions[1], name)
        reading = await queue_up(sessions[2], name, shared=True)
        doomed.process.kill()

        async def one_reader_left() -> bool:
            holders = (await client.get_lock(name, linearizable=True)).holders
            return [entry.token for entry in holders] == [reader.token]

        await eventually(one_reader_left, "the crash is noticed")
    await until_queued(client, name, 2)
    assert reader.held
    assert not writing.done()
    await reader.release()
    writer = await writing
    assert await sessions[3].try_lock(name, shared=True) is None
    assert [entry.token for entry in (await client.get_lock(name, linearizable=True)).holders] == [writer.token]
    assert not reading.done()
    await writer.release()
    assert (await reading).held
