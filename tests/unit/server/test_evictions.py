"""What evictions leave behind: records under leases that many share, and only so many of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.model import Entry, EvictionKind, EvictionRecord
from lockstream_server.sessions import evictions
from lockstream_server.sessions.host import Bounds, Host
from lockstream_server.sessions.record_leases import (
    LEASE_SECONDS,
    LEASES,
    RECORD_SECONDS,
    RECORDS_PER_LEASE,
    SHARING_SECONDS,
)
from lockstream_server.store.memory import MemoryStore
from lockstream_server.store.port import Lease
from tests.support.stores import Subject
from tests.support.virtual_time import run

NAMES = [f"{number}" for number in range(200)]


class CountingStore(MemoryStore):
    """Counts the leases that it grants, grants none while it is out of reach, and revokes them when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.out_of_reach = False
        self.asked = 0
        self.granted: list[Lease] = []
        self.revokes = asyncio.Event()
        self.revokes.set()

    async def grant_lease(self, ttl: int) -> Lease:
        self.asked += 1
        await asyncio.sleep(0.1)
        if self.out_of_reach:
            raise LockError(Reason.STORE_UNAVAILABLE, "etcd did not answer in time")
        self.granted.append(await super().grant_lease(ttl))
        return self.granted[-1]

    async def revoke_lease(self, session: int) -> None:
        await self.revokes.wait()
        await super().revoke_lease(session)


class World:
    """A server, and a store in which other programs hold locks."""

    def __init__(self, subject: Subject, store: CountingStore) -> None:
        self.store = store
        self.table = subject.follower.table
        self.host = Host("server-1", store, self.table, Bounds(), asyncio.get_running_loop().time)
        self._subject = subject

    async def held(self, *names: str) -> list[Entry]:
        """Those who hold these locks."""
        revision = max(self.store.put_foreign(name, "694d") for name in names)
        await self._subject.follower.until(lambda: self.table.revision >= revision)
        return [self.table.locks[name].entries[0] for name in names]

    async def evict(self, *names: str) -> Sequence[bool | BaseException]:
        """Evict them all at once."""
        entries = await self.held(*names)
        done = await asyncio.gather(*map(self.evicted, entries), return_exceptions=True)
        await asyncio.sleep(0.001)
        return done

    async def evicted(self, entry: Entry) -> bool:
        """Evict one."""
        record = EvictionRecord(EvictionKind.FORCE_RELEASED, 0, entry.name, 0, entry.token, "stuck", "operator", 1.0)
        return await evictions.evict(self.host, entry, record)

    @property
    def recorded(self) -> set[str]:
        """The names of all that is on record in etcd."""
        return {record.name for record in self.table.evictions.values()}


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    store = CountingStore()
    subject = Subject(store)
    try:
        yield World(await subject.begun(), store)
    finally:
        await subject.stop()
        await store.close()


def test_evictions_of_one_time_share_a_lease() -> None:
    async def evicting() -> None:
        async with world() as here:
            assert await here.evict(*NAMES) == [True] * len(NAMES)
            assert await here.evict("late") == [True]
            assert [lease.ttl for lease in here.store.granted] == [LEASE_SECONDS]
            assert here.recorded == {*NAMES, "late"}

    run(evicting())


def test_each_record_is_kept_for_its_time() -> None:
    async def evicting() -> None:
        async with world() as here:
            await here.evict("first")
            await asyncio.sleep(SHARING_SECONDS - 1)
            await here.evict("last of the same lease")
            await asyncio.sleep(1)
            await here.evict("next")
            assert len(here.store.granted) == 2
            await asyncio.sleep(RECORD_SECONDS - 1)
            assert here.recorded == {"first", "last of the same lease", "next"}
            await asyncio.sleep(1)
            assert here.recorded == {"next"}
            await asyncio.sleep(SHARING_SECONDS)
            assert here.recorded == set()

    run(evicting())


def test_there_are_only_so_many_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go before their time."""
    monkeypatch.setattr("lockstream_server.sessions.record_leases.RECORDS_PER_LEASE", 10)
    monkeypatch.setattr("lockstream_server.sessions.record_leases.LEASES", 4)

    async def evicting() -> None:
        async with world() as here:
            for name in NAMES[:75]:
                await here.evict(name)
            assert here.recorded == set(NAMES[40:75])
            assert len(here.store.granted) == 8

    run(evicting())


def test_nobody_waits_for_the_end_of_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstream_server.sessions.record_leases.RECORDS_PER_LEASE", 1)
    monkeypatch.setattr("lockstream_server.sessions.record_leases.LEASES", 1)

    async def evicting() -> None:
        async with world() as here:
            here.store.revokes.clear()
            async with asyncio.timeout(1):
                assert await here.evict("a", "b", "c") == [True] * 3
            assert here.recorded == {"a", "b", "c"}
            here.store.revokes.set()
            await asyncio.sleep(0.001)
            assert here.recorded == {"c"}

    run(evicting())


def test_a_server_leaves_a_bounded_number_of_records() -> None:
    """The figure that the guarantees state."""
    assert RECORDS_PER_LEASE * LEASES == 64_000


def test_what_was_gone_already_leaves_no_record_and_takes_none_away() -> None:
    async def evicting() -> None:
        async with world() as here:
            await here.evict("a")
            [entry] = await here.held("b")
            here.store.delete_entry("b", entry.key)
            assert not await here.evicted(entry)
            await asyncio.sleep(0.001)
            assert here.recorded == {"a"}

    run(evicting())


def test_a_lease_that_somebody_revoked_is_replaced() -> None:
    async def evicting() -> None:
        async with world() as here:
            await here.evict("a")
            await here.store.revoke_lease(here.store.granted[0].session)
            assert await here.evict("b", "c") == [True, True]
            assert here.recorded == {"b", "c"}
            assert len(here.store.granted) == 2

    run(evicting())


def test_those_who_ask_at_one_time_are_refused_at_one_time() -> None:
    """A store out of reach is asked once for all of them, and anew for those who ask later."""

    async def evicting() -> None:
        async with world() as here:
            here.store.out_of_reach = True
            refused = await here.evict(*NAMES)
            assert {str(error) for error in refused} == {"etcd did not answer in time"}
            assert here.store.asked == 1
            here.store.out_of_reach = False
            assert await here.evict("later") == [True]

    run(evicting())
