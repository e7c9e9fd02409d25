"""The load generator on Lockstream, with a server in process: that it measures what it says."""

from collections.abc import AsyncIterator

import pytest

import lockstream
from lockstream.testing import LockstreamServer
from lockstream_server.settings import Settings
from lockstream_server.store.keys import Keys
from tests.benchmarks.driver import Driver
from tests.benchmarks.drivers import connect
from tests.benchmarks.plan import LOCKSTREAM, LOCKSTREAM_SHARED
from tests.benchmarks.workloads import Load, handoff_steady, pairs

WORKERS = 3
LOAD = Load(concurrency=WORKERS, warm_up=0.0, seconds=0.1)


@pytest.fixture(params=[LOCKSTREAM, LOCKSTREAM_SHARED])
async def driver(request: pytest.FixtureRequest, lockstream_server: LockstreamServer) -> AsyncIterator[Driver]:
    async with connect(request.param, lockstream_server.target) as driver:
        yield driver


@pytest.mark.parametrize(("system", "expected"), [(LOCKSTREAM, WORKERS), (LOCKSTREAM_SHARED, 1)])
async def test_workers_have_a_session_each_or_one_for_all_of_them(
    lockstream_server: LockstreamServer, system: str, expected: int
) -> None:
    async with connect(system, lockstream_server.target) as driver, lockstream.connect(lockstream_server.target) as eye:
        await driver.open_workers(WORKERS)

        sessions = await eye.list_sessions()

        assert len(sessions) == expected
        assert {session.grace for session in sessions} == {0}


async def test_distinct_names_are_taken_and_given_back(driver: Driver) -> None:
    figure = await pairs(driver, LOAD, {})

    assert figure.value > 0
    assert figure.unit == "pairs/s"


@pytest.mark.parametrize("bench", ["pairs_ten_names", "pairs_permits", "pairs_readers"])
async def test_workers_acquire_in_the_way_of_the_bench(lockstream_server: LockstreamServer, bench: str) -> None:
    async with (
        connect(LOCKSTREAM, lockstream_server.target, bench) as driver,
        lockstream.connect(lockstream_server.target) as eye,
    ):
        first, second = await driver.open_workers(2)
        await first.acquire("one")
        await second.acquire("two" if bench == "pairs_ten_names" else "one")

        held = await eye.list_locks()

        modes = {entry.mode.name for lock in held for entry in lock.holders}
        assert (len(held), modes) == {
            "pairs_ten_names": (20, {"EXCLUSIVE"}),
            "pairs_permits": (1, {"PERMITS"}),
            "pairs_readers": (1, {"SHARED"}),
        }[bench]


async def test_one_name_goes_round(driver: Driver) -> None:
    figure = await handoff_steady(driver, LOAD)

    assert figure.value > 0
    assert figure.unit == "handoffs/s"


async def test_queues_are_looked_for_where_the_server_keeps_them(driver: Driver) -> None:
    assert driver.queue_prefix("bench-0").encode() == Keys(Settings().etcd_prefix).lock("bench-0")
