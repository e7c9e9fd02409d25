"""Observers who are told of the past: few at a time, and none of them for longer than it reads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lockstream.v1 import service_pb2
from lockstream_server.core.changes import Snapshot
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.observing import Watched
from lockstream_server.core.table import Table
from lockstream_server.rpc import watching
from lockstream_server.rpc.watching import WatchCall
from lockstream_server.sessions.host import Bounds, Host
from lockstream_server.sessions.past import TURN_SECONDS, TURNS, Past
from lockstream_server.sessions.registry import Registry
from lockstream_server.store.memory import MemoryStore
from tests.support.virtual_time import run

TIMEOUT = 10.0
LOCKS = 5


class Client:
    """Takes so many seconds to read each message; None for one that never reads."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.read: list[service_pb2.WatchLocksResponse] = []

    async def write(self, told: service_pb2.WatchLocksResponse) -> None:
        """What the server calls, and waits for."""
        if self.seconds is None:
            await asyncio.get_running_loop().create_future()
        else:
            await asyncio.sleep(self.seconds)
            self.read.append(told)


class CountingStore(MemoryStore):
    """Counts the states that are read: each becomes a table."""

    def __init__(self) -> None:
        super().__init__()
        self.states = 0

    async def read_state(self, revision: int) -> Snapshot:
        self.states += 1
        return await super().read_state(revision)


class World:
    """A server whose locks are all held, each since a revision of its own."""

    def __init__(self) -> None:
        self.store = CountingStore()
        loop = asyncio.get_running_loop()
        bounds = Bounds(observer_timeout=TIMEOUT)
        self.registry = Registry(Host("server-1", self.store, Table(), bounds, loop.time), new_token=lambda: "token")
        self._past = Past(self.store)
        self._tasks = [asyncio.ensure_future(self.store.follow(self.registry))]
        self._hold("lock")
        self.first = self.store.history.newest
        for number in range(LOCKS):
            self._hold(f"lock/{number}")

    def _hold(self, name: str) -> None:
        self.store.put_foreign(name, "694d")

    async def change(self) -> None:
        """One more lock is held."""
        self._hold(f"lock/new/{self.store.history.newest}")
        await asyncio.sleep(0.001)

    def watch(self, client: Client, *, after: int) -> "asyncio.Task[None]":
        """Have a client watch everything. The task ends as its call does."""
        context: Any = client
        call = WatchCall(self.registry.host, self._past, Watched(None), context)
        task = asyncio.ensure_future(call.run(after))
        self._tasks.append(task)
        return task

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    here = World()
    await asyncio.sleep(0.001)
    try:
        yield here
    finally:
        await here.close()


Told = Callable[[World], int]
"""The revision after which somebody asks for what changed; 0 for a snapshot."""


@pytest.fixture(params=[lambda here: here.first, lambda _: 0], ids=["changes", "a large snapshot"])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What takes a table of the past."""

    async def at_once(function: Callable[..., object], *args: object) -> object:
        return function(*args)  # the clock jumps while no callback is ready, and does not see that a thread works

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    monkeypatch.setattr(watching, "COPIED_LOCKS", 0)
    monkeypatch.setattr(watching, "MESSAGE_BYTES", 1)
    asked: Told = request.param
    return asked


def refused(task: "asyncio.Task[None]") -> Reason:
    """Why a call ended."""
    error = task.exception()
    assert isinstance(error, LockError)
    return error.reason


def test_who_does_not_read_of_the_past_is_cut_off(told: Told) -> None:
    """Though nothing changes any more."""

    async def watching_locks() -> None:
        async with world() as here:
            deaf = here.watch(Client(None), after=told(here))
            await asyncio.sleep(TIMEOUT - 1)
            assert not deaf.done()
            await asyncio.sleep(1.1)
            assert refused(deaf) is Reason.SLOW_CONSUMER

    run(watching_locks())


def test_few_at_a_time_are_told_of_the_past_and_everybody_has_a_turn(told: Told) -> None:
    async def watching_locks() -> None:
        async with world() as here:
            deaf = []
            for _ in range(3 * TURNS):
                deaf.append(here.watch(Client(None), after=told(here)))
                await here.change()
            patient = Client(0.0)
            here.watch(patient, after=told(here))
            await asyncio.sleep(TIMEOUT / 2)
            assert here.store.states == TURNS
            await asyncio.sleep(TIMEOUT)
            assert [task.done() for task in deaf] == [True] * TURNS + [False] * 2 * TURNS
            assert not patient.read
            await asyncio.sleep(2 * TIMEOUT)
            assert {refused(task) for task in deaf} == {Reason.SLOW_CONSUMER}
            assert here.store.states <= 3 * TURNS + 1
            names = {change.name for message in patient.read for change in message.changes.changes}
            names |= {lock.name for message in patient.read for lock in message.snapshot.locks}
            assert len(names - {"lock"}) == LOCKS + 3 * TURNS

    run(watching_locks())


def test_whoever_reads_slowly_is_told_everything(told: Told) -> None:
    """The time is for each message."""

    async def watching_locks() -> None:
        async with world() as here:
            slow = Client(TIMEOUT - 1)
            task = here.watch(slow, after=told(here))
            await asyncio.sleep((LOCKS + 2) * TIMEOUT)
            assert not task.done()
            assert len(slow.read) == LOCKS + 1

    run(watching_locks())


def test_a_turn_ends_though_its_client_reads(told: Told) -> None:
    """More slowly than the locks change, say: nobody waits for the end of that."""

    async def watching_locks() -> None:
        async with world() as here:
            for _ in range(round(TURN_SECONDS / TIMEOUT)):
                await here.change()
            tasks = [here.watch(Client(TIMEOUT - 0.1), after=told(here)) for _ in range(TURNS)]
            quick = Client(0.0)
            here.watch(quick, after=told(here))
            await asyncio.sleep(TURN_SECONDS - 1)
            assert not quick.read
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(2)
            assert quick.read
            assert {refused(task) for task in tasks} == {Reason.SLOW_CONSUMER}

    run(watching_locks())


def test_whoever_was_told_of_the_past_may_take_its_time(told: Told) -> None:
    """As long as there is not too much to read."""

    async def watching_locks() -> None:
        async with world() as here:
            slow = Client(TIMEOUT - 1)
            task = here.watch(slow, after=told(here))
            await asyncio.sleep((LOCKS + 2) * TIMEOUT)
            slow.seconds = 100 * TIMEOUT
            await here.change()
            await asyncio.sleep(101 * TIMEOUT)
            assert not task.done()
            assert len(slow.read) == LOCKS + 2

    run(watching_locks())


def test_whoever_waits_for_its_turn_at_the_end_waits_no_longer(told: Told) -> None:
    async def watching_locks() -> None:
        async with world() as here:
            tasks = [here.watch(Client(None), after=told(here)) for _ in range(3 * TURNS)]
            await asyncio.sleep(1)
            here.registry.drain(0.0)
            await asyncio.sleep(0.001)
            assert [task.done() for task in tasks] == [False] * TURNS + [True] * 2 * TURNS
            assert {refused(task) for task in tasks[TURNS:]} == {Reason.DRAINING}
            await asyncio.sleep(TIMEOUT)
            assert {refused(task) for task in tasks[:TURNS]} == {Reason.SLOW_CONSUMER}

    run(watching_locks())


@pytest.mark.parametrize("told", [lambda here: here.first], ids=["changes"], indirect=True)
def test_whoever_is_told_of_a_long_past_at_the_end_is_told_no_more(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was told is whole, and it can go on from there at another server."""
    monkeypatch.setattr(watching, "NEAR_REVISIONS", 0)

    async def watching_locks() -> None:
        async with world() as here:
            slow = Client(1.0)
            task = here.watch(slow, after=told(here))
            await asyncio.sleep(2.5)
            here.registry.drain(0.0)
            await asyncio.sleep(0.001)
            assert refused(task) is Reason.DRAINING
            assert [len(message.changes.changes) for message in slow.read] == [1, 1]

    run(watching_locks())
