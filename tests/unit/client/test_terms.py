"""What an acquire may say beside the name, and what is told of the lock while it waits or holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import lockstream
from lockstream import ErrorReason, LossReason
from lockstream.v1 import lock_pb2, session_pb2
from tests.unit.client.scripted import acquire_id, claim, lost

if TYPE_CHECKING:
    from tests.unit.client.conftest import Play


def yield_requested(request: session_pb2.Request, token: int, remaining: float | None = None) -> session_pb2.Event:
    asked = session_pb2.YieldRequested(acquire_id=acquire_id(request), token=token)
    if remaining is not None:
        asked.remaining.FromNanoseconds(round(remaining * 1e9))
    return session_pb2.Event(yield_requested=asked)


async def test_a_plain_acquire_says_nothing_more(play: Play) -> None:
    await play.acquire("a")
    said = {field.name for field, _ in play.granted.acquire.ListFields()}
    assert said == {"acquire_id", "name", "owner"}


async def test_every_term_is_sent_as_stated(play: Play) -> None:
    lock = await play.acquire(
        "a",
        wait=5,
        value=b"here",
        metadata={"zone": "b"},
        max_hold=30,
        yield_notice=2.5,
        lock_delay=0.25,
        request_yield=True,
    )
    acquire = play.granted.acquire
    assert (acquire.name, acquire.owner, acquire.mode) == ("a", lock.owner, lock_pb2.MODE_UNSPECIFIED)
    assert (acquire.value, dict(acquire.metadata), acquire.request_yield) == (b"here", {"zone": "b"}, True)
    assert acquire.max_hold.ToMilliseconds() == 30_000
    assert acquire.yield_notice.ToMilliseconds() == 2_500
    assert acquire.lock_delay.ToMilliseconds() == 250
    assert 4 < acquire.timeout.ToMilliseconds() / 1000 <= 5
    assert (acquire.permits, acquire.limit) == (0, 0)


@pytest.mark.parametrize(("stated", "sent"), [(None, 1), (1, 1), (3, 3)])
async def test_permits_are_taken_of_a_limit(play: Play, stated: int | None, sent: int) -> None:
    lock = await play.acquire("a", limit=10, permits=stated)
    acquire = play.granted.acquire
    assert (acquire.mode, acquire.permits, acquire.limit) == (lock_pb2.MODE_PERMITS, sent, 10)
    assert (lock.permits, lock.shared) == (sent, False)


async def test_a_semaphore_holds_permits_during_the_body(play: Play) -> None:
    async def body() -> int:
        async with play.session.semaphore("a", limit=10, permits=4, value=b"v") as lock:
            return lock.permits

    running = asyncio.create_task(body())
    request = await play.stream.grant()
    assert (request.acquire.permits, request.acquire.limit, request.acquire.value) == (4, 10, b"v")
    await play.stream.release()
    assert await running == 4


@pytest.mark.parametrize("terms", [{"max_hold": 0}, {"limit": 0}, {"lock_delay": -1}, {"permits": 0}])
async def test_bad_terms_that_can_be_said_are_left_to_the_server(play: Play, terms: dict[str, Any]) -> None:
    asking = asyncio.create_task(play.session.acquire("a", **terms))
    request = await play.stream.expect("acquire")
    assert request.acquire.HasField("max_hold") == ("max_hold" in terms)
    await play.stream.refuse(request, ErrorReason.INVALID_ARGUMENT)
    with pytest.raises(lockstream.InvalidArgument):
        await asking


@pytest.mark.parametrize(
    ("terms", "named"),
    [
        ({"permits": -1}, "permits"),
        ({"limit": 2**32}, "limit"),
        ({"limit": 1.5}, "a"),
        ({"limit": 3, "shared": True}, "permits are not shared"),
        ({"value": "text"}, "bytes"),
        ({"value": b"v" * 70_000}, "65536 bytes"),
        ({"metadata": {"zone": 1}}, "a"),
        ({"metadata": {"zone": "\ud800"}}, "a"),
        ({"max_hold": float("nan")}, "max_hold"),
        ({"lock_delay": float("inf")}, "lock_delay"),
        ({"yield_notice": 1e30}, "yield_notice"),
        ({"owner": "\ud800"}, "owner"),
        ({"owner": "o" * 257}, "256 bytes"),
        ({"owner": "ö" * 129}, "256 bytes"),
        ({"reentrant": True, "shared": True}, "reentrant"),
        ({"reentrant": True, "limit": 3}, "reentrant"),
    ],
)
async def test_what_no_message_can_say_is_refused_at_once_and_harms_nobody(
    play: Play, terms: dict[str, Any], named: str
) -> None:
    with pytest.raises(lockstream.InvalidArgument, match=named):
        await play.session.acquire("a", **terms)
    await play.acquire("fine")


async def test_many_large_requests_stay_below_what_servers_take_in_one_frame(play: Play) -> None:
    value = b"v" * 4096
    asking = [asyncio.create_task(play.session.acquire(f"{n}", value=value)) for n in range(500)]
    requests = [await play.stream.grant() for _ in asking]
    await asyncio.gather(*asking)
    assert {request.acquire.value for request in requests} == {value}
    assert play.stream.largest_frame < 1_048_576
    assert play.stream.largest_frame > 10 * len(value), "nothing was bundled"


async def test_the_place_is_told_again_as_it_changes(play: Play) -> None:
    positions: list[int] = []
    asking = asyncio.create_task(play.session.acquire("a", on_wait=positions.append))
    request = await play.stream.queue(position=5)
    for position in (3, 3, 1):
        moved = session_pb2.PositionChanged(acquire_id=acquire_id(request), position=position)
        await play.stream.push(session_pb2.Event(position_changed=moved))
    granted = session_pb2.Granted(acquire_id=acquire_id(request), token=9)
    await play.stream.push(session_pb2.Event(granted=granted))
    await asking
    assert positions == [5, 3, 1]


async def test_the_holder_is_asked_to_yield(play: Play) -> None:
    asked: asyncio.Queue[tuple[lockstream.Lock, float | None]] = asyncio.Queue()
    lock = await play.acquire("a", on_yield=lambda *news: asked.put_nowait(news))
    assert not lock.yield_requested
    stale, real = yield_requested(play.granted, token=6), yield_requested(play.granted, token=7)
    await play.stream.push(stale, real, yield_requested(play.granted, token=7, remaining=1.5))
    assert await asked.get() == (lock, None)
    assert await asked.get() == (lock, 1.5)
    assert asked.empty()
    assert lock.yield_requested
    assert lock.held


async def test_a_wish_that_comes_with_the_grant_is_not_missed(play: Play) -> None:
    asked: list[float | None] = []
    asking = asyncio.create_task(play.session.acquire("a", on_yield=lambda _, remaining: asked.append(remaining)))
    request = await play.stream.queue()
    granted = session_pb2.Granted(acquire_id=acquire_id(request), token=9)
    await play.stream.push(session_pb2.Event(granted=granted), yield_requested(request, token=9))
    lock = await asking
    assert lock.yield_requested
    await asyncio.sleep(0)
    assert asked == [None]


async def test_a_waiter_asks_for_what_it_waits_for(play: Play) -> None:
    with pytest.raises(lockstream.WrongState, match="waits"):
        await play.session.request_yield("a")
    queued = asyncio.Event()
    asking = asyncio.create_task(play.session.acquire("a", on_wait=lambda _: queued.set()))
    request = await play.stream.queue()
    await queued.wait()
    wishing = asyncio.create_task(play.session.request_yield("a"))
    wish = await play.stream.expect("request_yield")
    assert wish.request_yield.acquire_id == acquire_id(request)
    await play.stream.reply(wish, session_pb2.Reply(yield_asked=session_pb2.YieldAsked()))
    await wishing
    granted = session_pb2.Granted(acquire_id=acquire_id(request), token=9)
    await play.stream.push(session_pb2.Event(granted=granted))
    await asking


async def test_terms_are_sent_again_with_an_acquire_that_never_arrived(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a", value=b"v", max_hold=3))
    first = await play.stream.expect("acquire")
    await play.cut()
    await play.resumed()
    again = await play.stream.grant()
    await asking
    assert again.acquire == first.acquire


async def test_a_waiter_keeps_its_terms_over_a_resume(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a", limit=4))
    first = await play.stream.queue()
    await play.cut()
    await play.resumed(claim(first))
    again = await play.stream.grant()
    await asking
    assert again.acquire == first.acquire


async def test_who_broke_a_lock_is_told_with_the_loss(play: Play) -> None:
    lock = await play.acquire("a")
    await play.stream.push(lost(play.granted, 7, LossReason.FORCE_RELEASED, detail="stuck", actor="alice"))
    assert await lock.lost.wait() is LossReason.FORCE_RELEASED
    assert (lock.lost.detail, lock.lost.actor) == ("stuck", "alice")
    with pytest.raises(lockstream.LockLost, match="FORCE_RELEASED by alice: stuck") as raised:
        lock.check()
    assert (raised.value.detail, raised.value.actor) == ("stuck", "alice")


async def test_a_body_that_was_broken_raises_who_and_why(play: Play) -> None:
    async def body() -> None:
        async with play.session.lock("a"):
            await asyncio.Event().wait()

    running = asyncio.create_task(body())
    request = await play.stream.grant()
    await play.stream.push(lost(request, 7, LossReason.FORCE_RELEASED, detail="stuck", actor="alice"))
    with pytest.raises(lockstream.LockLost) as raised:
        await running
    assert (raised.value.detail, raised.value.actor) == ("stuck", "alice")


async def test_a_hold_that_lasted_too_long_is_lost(play: Play) -> None:
    lock = await play.acquire("a", max_hold=1)
    await play.stream.push(lost(play.granted, 7, LossReason.MAX_HOLD_EXCEEDED))
    assert await lock.lost.wait() is LossReason.MAX_HOLD_EXCEEDED
