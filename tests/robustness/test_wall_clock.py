"""The wall clock of a client may be anything: nothing reads it that decides about locks."""

import ast
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import lockstream
from tests.robustness.traffic.wall_clock import ClockOffset, wall_clock
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiters import queue_up
from tests.support.waiting import eventually

HOUR = 3_600.0
TTL = 4.0
LIBRARY = Path(lockstream.__file__).parent
OF_TIME = {"time", "time_ns", "gmtime", "localtime", "ctime", "CLOCK_REALTIME"}
"""What in the module `time` tells the time of the wall clock."""
OF_DATES = {"now", "utcnow", "today"}
"""And in the classes of the module `datetime`."""


@pytest.fixture
def server(etcd: EtcdProcess) -> Iterator[ServerProcess]:
    with ServerProcess(etcd.endpoint) as server:
        yield server


@pytest.fixture
def offset(tmp_path: Path) -> ClockOffset:
    return ClockOffset(tmp_path / "clock")


def test_whoever_maps_the_file_steps_the_clock(tmp_path: Path, offset: ClockOffset) -> None:
    true_time, before = time.time, time.monotonic()
    with wall_clock(offset):
        ClockOffset(tmp_path / "clock").step(3 * HOUR)
        assert time.time() - true_time() == pytest.approx(3 * HOUR, abs=1)
        assert time.time_ns() / 1e9 - true_time() == pytest.approx(3 * HOUR, abs=1)
        offset.step(-5 * HOUR)
        assert time.time() - true_time() == pytest.approx(-2 * HOUR, abs=1)
        assert time.monotonic() - before < HOUR
    assert time.time is true_time


def proven_until(session: lockstream.Session) -> float:
    """Until when a session is proven, by CLOCK_MONOTONIC."""
    return time.monotonic() + session.remaining


async def test_holds_and_waits_outlive_every_step_and_end_in_time(server: ServerProcess, offset: ClockOffset) -> None:
    """On by hours all TTLs would be over, and back by hours none would ever be."""
    readers: Counter[str] = Counter()

    def read() -> None:
        frame = sys._getframe(2)  # noqa: SLF001 - whoever called what calls this
        readers[str(frame.f_globals["__name__"])] += 1

    with wall_clock(offset, read):
        async with lockstream.connect(server.target, ttl=TTL) as client, client.session() as holder:
            lock = await holder.acquire("clock")
            async with client.session() as waiter:
                waiting = await queue_up(waiter, "clock")
                for step in (5 * HOUR, -10 * HOUR, 5 * HOUR, -3 * HOUR):
                    offset.step(step)
                    assert 0 < holder.remaining <= TTL
                    assert lock.held
                    until = proven_until(holder)
                    await eventually(lambda until=until: proven_until(holder) > until + 0.1, "the lease is renewed")
                    assert await client.check_token("clock", lock.token), "a call with a deadline"
                    assert not waiting.done()
                await lock.release()
                held = await asyncio.wait_for(waiting, TTL)
                with pytest.raises(lockstream.WaitTimeout):
                    await holder.acquire("clock", wait=0.1)
                server.freeze()
                try:
                    offset.step(-HOUR)
                    await eventually(lambda: not held.held, "its own clock ends the hold", timeout=TTL + 2)
                finally:
                    server.thaw()
        assert time.time() > 0
    assert readers[__name__] > 0, "whoever reads it is noticed"
    assert not [module for module in readers if module.partition(".")[0] == "lockstream"]


def readings(source: Path) -> Iterator[str]:
    """Where a file reads a wall clock."""
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr=attr) if attr in OF_TIME:
                yield f"{source.relative_to(LIBRARY)}: time.{attr}"
            case ast.Attribute(attr=attr) if attr in OF_DATES:
                yield f"{source.relative_to(LIBRARY)}: {attr}"
            case ast.ImportFrom(module="time", names=names):
                yield from (f"{source.relative_to(LIBRARY)}: from time import {name.name}" for name in names)
            case _:
                pass


def test_the_library_reads_no_wall_clock_but_to_show_ages_in_its_command() -> None:
    sources = sorted(LIBRARY.rglob("*.py"))
    assert len(sources) > 20
    assert [reading for source in sources for reading in readings(source)] == ["cli/output.py: now"]
