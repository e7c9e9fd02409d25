"""A machine that is suspended holds nothing for longer than one that is awake."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

import lockstream
from lockstream import LossReason, _clock
from lockstream._clock import Clock
from lockstream.v1 import session_pb2
from tests.support.suspension import Machine
from tests.support.virtual_time import START, VirtualTimeLoop, run
from tests.support.waiting import eventually
from tests.unit.client.conftest import Opened, Play

HOUR = 3_600.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


async def test_a_lock_is_held_no_longer_once_its_lease_was_slept_through(play: Play, machine: Machine) -> None:
    """Not even for the moment until anything else notices."""
    lock = await play.acquire("a")
    assert lock.held
    machine.sleep(HOUR)
    assert not lock.held
    assert lock.lost.reason is LossReason.UNPROVEN
    assert play.session.remaining < 0
    with pytest.raises(lockstream.LockLost):
        lock.check()
    with pytest.raises(lockstream.SessionExpired):
        await play.session.acquire("b")


async def test_whoever_waited_is_not_handed_a_grant_that_was_slept_over(play: Play, machine: Machine) -> None:
    asking = asyncio.create_task(play.session.acquire("a"))
    request = await play.stream.expect("acquire")
    machine.sleep(HOUR)
    granted = session_pb2.Granted(acquire_id=request.acquire.acquire_id, token=7)
    await play.stream.reply(request, session_pb2.Reply(granted=granted))
    with pytest.raises(lockstream.SessionExpired):
        await asking


async def test_after_a_nap_the_lease_is_proven_anew(opened: Opened, machine: Machine) -> None:
    async with opened(ttl=3) as play:
        lock = await play.acquire("a")
        machine.sleep(1.5)
        assert 0 < play.session.remaining <= 1.5
        assert lock.held
        heartbeat = await play.stream.receive()
        assert heartbeat.WhichOneof("action") == "heartbeat"
        await play.stream.prove(heartbeat, remaining=3)
        await eventually(lambda: play.session.remaining > 1.5, "the lease is proven anew")
        assert lock.held
        await asyncio.gather(lock.release(), play.stream.release())


async def test_a_lease_slept_through_between_two_streams_is_not_resumed(play: Play, machine: Machine) -> None:
    """The timer does not count the sleep: the next attempt to resume finds it out."""
    lock = await play.acquire("a")
    await play.cut()
    attempt = await play.server.stream()
    await attempt.expect("resume")
    machine.sleep(HOUR)
    attempt.ended.set()
    await eventually(lambda: play.session.ended is not None, "the session is over", timeout=3)
    assert isinstance(play.session.ended, lockstream.SessionExpired)
    assert lock.lost.reason is LossReason.UNPROVEN


# The clock itself.


class Naps:
    """What two readings of the system's clocks differ by, whenever that is looked at."""

    def __init__(self, patch: pytest.MonkeyPatch, begun: float = 12_345.678) -> None:
        self.seconds = begun
        patch.setattr(_clock, "asleep", lambda: self.seconds)


def test_sleep_counts_and_what_was_slept_before_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    naps = Naps(monkeypatch)

    async def shown() -> list[float]:
        clock = Clock(asyncio.get_running_loop())
        times = [clock.time()]
        naps.seconds += HOUR
        times.append(clock.time())
        await asyncio.sleep(5)
        times.append(clock.time())
        return times

    assert run(shown()) == pytest.approx([START, START + HOUR, START + HOUR + 5], abs=0.01)


def test_readings_that_came_apart_do_not_set_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two readings this process may have had to wait for a processor."""
    naps = Naps(monkeypatch)
    loop = VirtualTimeLoop()
    try:
        clock = Clock(loop)
        naps.seconds += 10
        before = clock.time()
        for late in (0.03, 2.0, 1e-7):
            naps.seconds -= late
            assert clock.time() == before
            naps.seconds += late
    finally:
        loop.close()


@pytest.mark.parametrize("slept", [0.0, 0.3, 3_601.234_567, 1e7 / 3])
def test_a_timer_comes_no_earlier_than_its_moment(monkeypatch: pytest.MonkeyPatch, slept: float) -> None:
    """One that did would be set again and again, for no time at all."""
    naps = Naps(monkeypatch)

    async def woken(moment: float) -> float:
        loop = asyncio.get_running_loop()
        clock = Clock(loop)
        naps.seconds += slept
        moment += clock.time()
        shown: asyncio.Future[float] = loop.create_future()
        loop.call_at(clock.timer(moment), lambda: shown.set_result(clock.time() - moment))
        return await shown

    for step in range(1, 50):
        assert run(woken(math.pi / step)) >= 0


def test_the_system_tells_how_long_it_slept() -> None:
    assert hasattr(time, "CLOCK_BOOTTIME"), "as Linux has it"
    slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    assert _clock.asleep() == pytest.approx(slept, abs=1)


def test_where_no_clock_tells_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clock, "_AWAKE_OR_ASLEEP", None)
    assert _clock.asleep() == 0
