"""Several locks at once: one acquire, one token, one loss, one release."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import lockstream
from lockstream import LossReason, Part
from lockstream.v1 import lock_pb2, session_pb2
from tests.unit.client.scripted import acquire_id, claim, lost

if TYPE_CHECKING:
    from tests.unit.client.conftest import Play


async def both(play: Play) -> tuple[lockstream.Lock, session_pb2.Request]:
    return await asyncio.gather(play.session.acquire_all(["a", "b"]), play.stream.grant(9, "acquire_all"))


async def test_names_and_parts_are_sent_as_stated(play: Play) -> None:
    parts: list[str | Part] = ["a", Part("b", shared=True), Part("c", permits=2, limit=5)]
    lock, request = await asyncio.gather(
        play.session.acquire_all(parts, wait=0, owner="me"), play.stream.grant(9, "acquire_all")
    )
    acquire = request.acquire_all
    assert [(part.name, part.mode, part.permits, part.limit) for part in acquire.parts] == [
        ("a", lock_pb2.MODE_UNSPECIFIED, 0, 0),
        ("b", lock_pb2.MODE_SHARED, 0, 0),
        ("c", lock_pb2.MODE_PERMITS, 2, 5),
    ]
    assert (acquire.owner, acquire.WhichOneof("wait")) == ("me", "no_wait")
    assert (lock.names, lock.name, lock.token, lock.shared, lock.held) == (("a", "b", "c"), "a", 9, False, True)


async def test_one_release_gives_up_all(play: Play) -> None:
    lock, request = await both(play)
    _, release = await asyncio.gather(lock.release(), play.stream.release())
    assert (release.release.acquire_id, release.release.token) == (acquire_id(request), 9)
    assert not lock.held


async def test_one_loss_is_the_loss_of_all(play: Play) -> None:
    async def body() -> None:
        async with play.session.lock_all(["a", "b"]):
            await asyncio.Event().wait()

    running = asyncio.create_task(body())
    request = await play.stream.grant(9, "acquire_all")
    await play.stream.push(lost(request, 9, LossReason.REMOVED_EXTERNALLY))
    with pytest.raises(lockstream.LockLost) as raised:
        await running
    assert raised.value.token == 9


async def test_the_context_holds_them_during_the_body_and_can_be_used_again(play: Play) -> None:
    context = play.session.lock_all(name for name in ("a", "b"))

    async def body() -> tuple[str, ...]:
        async with context as lock:
            with pytest.raises(lockstream.WrongState, match="a, b"):
                await context.__aenter__()
            return lock.names

    for _ in range(2):
        running = asyncio.create_task(body())
        await play.stream.grant(9, "acquire_all")
        await play.stream.release()
        assert await running == ("a", "b")


async def test_a_waiter_is_told_its_place_and_leaves_when_cancelled(play: Play) -> None:
    positions: asyncio.Queue[int] = asyncio.Queue()
    asking = asyncio.create_task(play.session.acquire_all(["a", "b"], on_wait=positions.put_nowait))
    request = await play.stream.queue(4, "acquire_all")
    assert await positions.get() == 4
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await play.stream.cancel()).cancel.acquire_id == acquire_id(request)


async def test_an_owner_asks_for_none_of_the_names_before_those_given_up_are_gone(play: Play) -> None:
    async def impatient() -> lockstream.Lock:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await play.session.acquire_all(["a", "b"])
        return await play.session.acquire("b")

    asking = asyncio.create_task(impatient())
    await play.stream.queue(1, "acquire_all")
    cancel = await play.stream.expect("cancel")
    await play.acquire("another")
    assert play.granted.acquire.name == "another"  # and not yet "b"
    await play.stream.reply(cancel, session_pb2.Reply(cancelled=session_pb2.Cancelled()))
    assert (await play.stream.grant()).acquire.name == "b"
    await asking


async def test_an_acquire_that_never_arrived_is_sent_again(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire_all(["a", "b"]))
    first = await play.stream.expect("acquire_all")
    await play.cut()
    await play.resumed()
    again = await play.stream.grant(9, "acquire_all")
    assert (await asking).token == 9
    assert again.acquire_all == first.acquire_all


async def test_a_grant_that_was_not_heard_is_found_by_the_resume(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire_all(["a", "b"]))
    request = await play.stream.expect("acquire_all")
    await play.cut()
    await play.resumed(claim(request, token=11))
    assert (await asking).token == 11


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ("ab", "names or parts"),
        (["a", "\ud800"], "UTF-8"),
        (["a", 3], "text"),
        ([Part("a", limit=-1)], "limit"),
        ([Part("a", shared=True, limit=1)], "permits are not shared"),
        (["n" * 500 for _ in range(200)], "65536 bytes"),
    ],
)
async def test_what_no_message_can_say_is_refused_at_once_and_harms_nobody(play: Play, parts: Any, named: str) -> None:
    with pytest.raises(lockstream.InvalidArgument, match=named):
        await play.session.acquire_all(parts)
    await play.acquire("fine")


@pytest.mark.parametrize("names", [[], ["a", "a"], [str(number) for number in range(101)]])
async def test_other_bad_lists_are_left_to_the_server(play: Play, names: list[str]) -> None:
    asking = asyncio.create_task(play.session.acquire_all(names))
    request = await play.stream.expect("acquire_all")
    assert [part.name for part in request.acquire_all.parts] == names
    await play.stream.refuse(request, lockstream.ErrorReason.INVALID_ARGUMENT)
    with pytest.raises(lockstream.InvalidArgument):
        await asking
