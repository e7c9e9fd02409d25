"""What a holder changes about its lock, and that it stands whatever the streams do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import lockstream
from lockstream import ErrorReason, LossReason
from tests.unit.client.scripted import acquire_id, claim, lost

if TYPE_CHECKING:
    from tests.unit.client.conftest import Play


async def test_a_value_is_sent_with_its_labels_and_the_token(play: Play) -> None:
    lock = await play.acquire("a")
    _, request = await asyncio.gather(lock.set_value(b"new", {"zone": "b"}), play.stream.set_value())
    said = request.set_value
    assert (said.acquire_id, said.token) == (acquire_id(play.granted), 7)
    assert (said.value, dict(said.metadata)) == (b"new", {"zone": "b"})
    assert lock.held


@pytest.mark.parametrize("metadata", [None, {}])
async def test_labels_that_are_not_stated_are_taken_away(play: Play, metadata: dict[str, str] | None) -> None:
    lock = await play.acquire("a", metadata={"zone": "b"})
    _, request = await asyncio.gather(lock.set_value(b"", metadata), play.stream.set_value())
    assert (request.set_value.value, dict(request.set_value.metadata)) == (b"", {})


async def test_answers_find_the_change_they_are_for(play: Play) -> None:
    lock = await play.acquire("a")
    changing = [asyncio.create_task(lock.set_value(value)) for value in (b"1", b"2")]
    first, second = [await play.stream.expect("set_value") for _ in changing]
    assert (first.set_value.value, second.set_value.value) == (b"1", b"2")
    await play.stream.refuse(second, ErrorReason.INVALID_ARGUMENT)
    with pytest.raises(lockstream.InvalidArgument):
        await changing[1]
    assert not changing[0].done()
    await play.stream.refuse(first, ErrorReason.NOT_HELD)
    with pytest.raises(lockstream.NotHeld):
        await changing[0]


@pytest.mark.parametrize(
    ("value", "metadata"), [("text", None), (b"v" * 70_000, None), (b"", {"zone": 1}), (b"", {"zone": "\ud800"})]
)
async def test_what_no_message_can_say_is_refused_at_once(play: Play, value: Any, metadata: Any) -> None:
    lock = await play.acquire("a")
    with pytest.raises(lockstream.InvalidArgument):
        await lock.set_value(value, metadata)
    await asyncio.gather(lock.set_value(b"fine"), play.stream.set_value())


async def test_a_change_without_an_answer_is_sent_again_after_a_resume(play: Play) -> None:
    lock = await play.acquire("a")
    changing = asyncio.gather(lock.set_value(b"1"), lock.downgrade())
    first = [await play.stream.expect("set_value"), await play.stream.expect("downgrade")]
    await play.cut()
    await play.resumed(claim(play.granted, 7))
    again = [await play.stream.set_value(), await play.stream.downgrade()]
    await changing
    assert again == first
    assert lock.held


async def test_a_change_asked_for_while_no_stream_is_there_is_sent_with_the_resume(play: Play) -> None:
    lock = await play.acquire("a")
    await play.cut()
    stream = await play.server.stream()  # the old one is gone once the client tries the next
    changing = asyncio.create_task(lock.set_value(b"1"))
    play.stream = stream
    await play.stream.attach(action="resume", claims=[claim(play.granted, 7)], generation=2)
    await play.stream.set_value()
    await changing


async def test_nothing_is_left_to_change_of_a_lock_that_a_resume_lacks(play: Play) -> None:
    lock = await play.acquire("a")
    changing = asyncio.create_task(lock.set_value(b"1"))
    await play.stream.expect("set_value")
    await play.cut()
    await play.resumed()
    with pytest.raises(lockstream.LockLost):
        await changing


async def test_a_loss_ends_the_changes_under_way(play: Play) -> None:
    lock = await play.acquire("a")
    changing = asyncio.create_task(lock.set_value(b"1"))
    await play.stream.expect("set_value")
    await play.stream.push(lost(play.granted, 7, LossReason.FORCE_RELEASED))
    with pytest.raises(lockstream.LockLost):
        await changing
    with pytest.raises(lockstream.LockLost):
        await lock.set_value(b"2")


async def test_a_released_lock_is_not_changed(play: Play) -> None:
    lock = await play.acquire("a")
    changing = asyncio.create_task(lock.set_value(b"1"))
    await play.stream.expect("set_value")
    await asyncio.gather(lock.release(), play.stream.release())
    with pytest.raises(lockstream.NotHeld):
        await changing
    for change in (lock.set_value(b"2"), lock.downgrade(), lock.upgrade()):
        with pytest.raises(lockstream.NotHeld):
            await change


async def test_a_cancelled_change_harms_nobody(play: Play) -> None:
    lock = await play.acquire("a")
    changing = asyncio.create_task(lock.set_value(b"1"))
    request = await play.stream.expect("set_value")
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    await play.stream.refuse(request, ErrorReason.NOT_HELD)
    await asyncio.gather(lock.set_value(b"2"), play.stream.set_value())
