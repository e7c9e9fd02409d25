"""Sessions: acquiring, releasing, reconnecting, expiring."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import lockstream
from lockstream import ErrorReason, LossReason
from lockstream.v1 import lock_pb2, session_pb2
from tests.unit.client.scripted import RESUME_TOKEN, SESSION_ID, status

if TYPE_CHECKING:
    from tests.unit.client.conftest import Opened, Play
    from tests.unit.client.scripted import ScriptedServer


def held(acquire: session_pb2.Request, token: int = 7) -> session_pb2.Claim:
    return session_pb2.Claim(acquire_id=acquire.acquire.acquire_id, state=lock_pb2.ENTRY_STATE_HELD, token=token)


def waiting(acquire: session_pb2.Request) -> session_pb2.Claim:
    return session_pb2.Claim(acquire_id=acquire.acquire.acquire_id, state=lock_pb2.ENTRY_STATE_WAITING, position=1)


async def test_acquire_and_release(play: Play) -> None:
    lock = await play.acquire("a", token=7)
    assert (lock.name, lock.token, lock.held, lock.lost.is_set()) == ("a", 7, True, False)
    _, request = await asyncio.gather(lock.release(), play.stream.release())
    assert request.release.token == 7
    assert not lock.held
    with pytest.raises(lockstream.NotHeld):
        await lock.release()


async def test_waits_are_sent_as_asked(play: Play) -> None:
    asking = [
        asyncio.create_task(play.session.acquire(name, wait=wait))
        for name, wait in (("forever", None), ("try", 0), ("timeout", 1.5))
    ]
    requests = [await play.stream.grant() for _ in asking]
    await asyncio.gather(*asking)
    waits = [request.acquire.WhichOneof("wait") for request in requests]
    assert waits == [None, "no_wait", "timeout"]
    assert 1 < requests[2].acquire.timeout.ToMilliseconds() / 1000 <= 1.5


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf")])
async def test_a_wait_that_makes_no_sense_is_refused_at_once(play: Play, wait: float) -> None:
    with pytest.raises(lockstream.InvalidArgument, match="wait"):
        await play.session.acquire("a", wait=wait)


async def test_a_name_that_is_no_text_harms_nobody(play: Play) -> None:
    with pytest.raises(lockstream.InvalidArgument, match="name"):
        await play.session.acquire("\ud800")
    await play.acquire("fine")


async def test_each_task_is_an_owner_of_its_own(play: Play) -> None:
    asking = [asyncio.create_task(play.session.acquire("a", shared=True)) for _ in range(2)]
    owners = {(await play.stream.grant()).acquire.owner for _ in asking}
    await asyncio.gather(*asking)
    assert len(owners) == 2


async def test_queued_then_granted(play: Play) -> None:
    positions: list[int] = []
    asking = asyncio.create_task(play.session.acquire("a", on_wait=positions.append))
    request = await play.stream.queue(position=3)
    granted = session_pb2.Granted(acquire_id=request.acquire.acquire_id, token=9)
    await play.stream.push(session_pb2.Event(granted=granted))
    assert (await asking).token == 9
    assert positions == [3]


async def test_a_refusal_is_raised_with_its_reason(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a", wait=0))
    request = await play.stream.expect("acquire")
    refusal = status(ErrorReason.WOULD_BLOCK, retryable=True)
    await play.stream.reply(request, session_pb2.Reply(error=refusal))
    with pytest.raises(lockstream.WouldBlock) as raised:
        await asking
    assert raised.value.reason is ErrorReason.WOULD_BLOCK
    assert raised.value.retryable
    assert raised.value.outcome_settled


async def test_an_unsettled_acquire_is_withdrawn(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a"))
    request = await play.stream.expect("acquire")
    unsettled = status(ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False)
    await play.stream.reply(request, session_pb2.Reply(error=unsettled))
    with pytest.raises(lockstream.StoreUnavailable):
        await asking
    cancel = await play.stream.cancel()
    assert cancel.cancel.acquire_id == request.acquire.acquire_id


async def test_an_unsettled_release_is_sent_again(opened: Opened) -> None:
    async with opened(ttl=0.6) as play:
        lock = await play.acquire("a")
        releasing = asyncio.create_task(lock.release())
        request = await play.stream.expect("release")
        unsettled = status(ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False)
        await play.stream.reply(request, session_pb2.Reply(error=unsettled))
        await play.stream.release()
        await releasing


async def test_a_cut_stream_loses_nothing(play: Play) -> None:
    """N4."""
    lost: list[LossReason] = []
    asking = asyncio.create_task(play.session.acquire("a", on_lost=lambda _, reason: lost.append(reason)))
    request = await play.stream.grant()
    lock = await asking
    await play.cut()
    await play.resumed(held(request))
    assert lock.held
    assert not lost
    await asyncio.gather(lock.release(), play.stream.release())


async def test_resume_states_session_and_token(play: Play) -> None:
    await play.cut()
    play.stream = await play.server.stream()
    greeting = await play.stream.attach(action="resume")
    assert greeting.resume.session_id == SESSION_ID
    assert greeting.resume.resume_token == RESUME_TOKEN


async def test_a_lock_that_the_snapshot_lacks_is_lost(play: Play) -> None:
    lock = await play.acquire("a")
    await play.cut()
    await play.resumed()
    assert await lock.lost.wait() is LossReason.LEASE_EXPIRED
    with pytest.raises(lockstream.LockLost):
        lock.check()


async def test_a_waiter_keeps_its_place_and_the_rest_of_its_wait(play: Play) -> None:
    """N9."""
    asking = asyncio.create_task(play.session.acquire("a", wait=5))
    first = await play.stream.queue()
    await play.cut()
    await play.resumed(waiting(first))
    again = await play.stream.grant()
    await asking
    assert again.acquire.acquire_id == first.acquire.acquire_id
    assert again.acquire.timeout.ToNanoseconds() < first.acquire.timeout.ToNanoseconds()


async def test_an_acquire_whose_grant_was_lost_is_granted_by_the_snapshot(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a"))
    request = await play.stream.expect("acquire")
    await play.cut()
    await play.resumed(held(request, token=11))
    assert (await asking).token == 11


async def test_an_acquire_that_never_arrived_is_sent_again(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a"))
    first = await play.stream.expect("acquire")
    await play.cut()
    await play.resumed()
    again = await play.stream.grant()
    await asking
    assert again.acquire.acquire_id == first.acquire.acquire_id


async def test_a_release_whose_reply_was_lost_succeeds(play: Play) -> None:
    """X14."""
    lock = await play.acquire("a")
    releasing = asyncio.create_task(lock.release())
    await play.stream.expect("release")
    await play.cut()
    await play.resumed()
    await releasing
    assert not lock.lost.is_set()


async def test_a_release_that_never_arrived_is_sent_again(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a"))
    request = await play.stream.grant()
    releasing = asyncio.create_task((await asking).release())
    await play.stream.expect("release")
    await play.cut()
    await play.resumed(held(request))
    await play.stream.release()
    await releasing


async def test_a_claim_that_nobody_wants_is_cancelled(play: Play) -> None:
    await play.cut()
    stray = session_pb2.Claim(acquire_id=99, state=lock_pb2.ENTRY_STATE_HELD, token=5)
    await play.resumed(stray)
    assert (await play.stream.cancel()).cancel.acquire_id == 99


async def test_an_expired_session_loses_every_lock_and_fails_every_waiter(play: Play) -> None:
    """N5."""
    lock = await play.acquire("a")
    asking = asyncio.create_task(play.session.acquire("b"))
    await play.stream.queue()
    await play.cut()
    stream = await play.server.stream()
    greeting = await stream.expect("resume")
    gone = status(ErrorReason.SESSION_EXPIRED, retryable=False)
    await stream.reply(greeting, session_pb2.Reply(error=gone))
    with pytest.raises(lockstream.SessionExpired):
        await asking
    assert lock.lost.reason is LossReason.LEASE_EXPIRED
    with pytest.raises(lockstream.SessionExpired):
        await play.session.acquire("c")


async def test_a_superseded_session_is_over(play: Play) -> None:
    """N6."""
    lock = await play.acquire("a")
    superseded = status(ErrorReason.SUPERSEDED, retryable=False)
    await play.stream.push(session_pb2.Event(session_ended=session_pb2.SessionEnded(error=superseded)))
    assert await lock.lost.wait() is LossReason.SUPERSEDED
    assert isinstance(play.session.ended, lockstream.Superseded)


async def test_draining_moves_the_session_while_the_old_stream_works(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a"))
    request = await play.stream.grant()
    lock = await asking
    old = play.stream
    await old.push(session_pb2.Event(draining=session_pb2.Draining()))
    play.stream = await play.server.stream()
    greeting = await play.stream.expect("resume")
    superseded = status(ErrorReason.SUPERSEDED, retryable=False)
    await old.push(session_pb2.Event(session_ended=session_pb2.SessionEnded(error=superseded)))
    attached = session_pb2.Attached(claims=[held(request)], generation=2)
    attached.remaining.FromSeconds(10)
    await play.stream.reply(greeting, session_pb2.Reply(attached=attached))
    await asyncio.gather(lock.release(), play.stream.release())
    assert play.session.generation == 2


async def test_without_proof_the_local_clock_ends_the_session(opened: Opened) -> None:
    """L5: the server says nothing more, on this stream or another."""
    async with opened(ttl=0.6) as play:
        lock = await play.acquire("a")
        asking = asyncio.create_task(play.session.acquire("b"))
        assert await lock.lost.wait() is LossReason.UNPROVEN
        with pytest.raises(lockstream.SessionExpired):
            await asking


async def test_a_stream_that_does_not_answer_heartbeats_is_left(opened: Opened) -> None:
    async with opened(ttl=1.5) as play:
        assert (await play.stream.receive()).WhichOneof("action") == "heartbeat"
        await play.resumed()
        assert (await play.acquire("a")).held


async def test_opening_fails_with_a_typed_error_when_nobody_listens() -> None:
    async with lockstream.connect("127.0.0.1:1", connect_timeout=0.3) as client:
        with pytest.raises(lockstream.ServerUnavailable):
            await client.session().open()


async def test_opening_is_tried_again_when_the_store_is_away(server: ScriptedServer) -> None:
    async with lockstream.connect(server.target) as client:
        session = client.session()
        opening = asyncio.create_task(session.open())
        stream = await server.stream()
        greeting = await stream.expect("open")
        away = status(ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False)
        await stream.reply(greeting, session_pb2.Reply(error=away))
        stream = await server.stream()
        await stream.attach()
        await opening
        await asyncio.gather(stream.close(), session.close())


async def test_a_closed_session_refuses_everything(play: Play) -> None:
    """N7."""
    lock = await play.acquire("a")
    await asyncio.gather(play.session.close(), play.stream.close())
    assert lock.lost.is_set()
    with pytest.raises(lockstream.WrongState):
        await play.session.close()
    with pytest.raises(lockstream.WrongState):
        await play.session.acquire("b")


async def test_a_close_survives_a_cut_stream(play: Play) -> None:
    """N2: the server hears of the close, if only on the next stream."""
    closing = asyncio.create_task(play.session.close())
    await play.stream.expect("close")
    await play.cut()
    await play.resumed()
    await play.stream.close()
    await closing


async def test_nothing_is_asked_of_a_session_that_is_not_open(server: ScriptedServer) -> None:
    async with lockstream.connect(server.target) as client:
        with pytest.raises(lockstream.WrongState):
            await client.session().acquire("a")
