"""A repeated acquire that crossed its own end was refused with ACQUIRE_ID_REUSED, or left a second entry.

A client that resumes asks again for what it waits for, to say for how long it still will. Meanwhile the server had
ended the wait, as one in a deadlock or with another limit than the others. When it had not forgotten the acquire yet,
it took the repetition for a new one with a used number, and refused it with ACQUIRE_ID_REUSED, an error that blames the
caller. When it had, it took it for a new acquire: that one queued up and was granted, while the client, which had read
of the end of its wait, wanted nothing any more.

It broke the promises that a repeated request does nothing twice, and that nothing is held for nobody. Since then the
repetition is answered with why the wait ended; and a client that reads of the end while a repetition is unanswered
takes that back, before its owner asks for anything else.
"""

# ruff: noqa: SLF001 - what was broken lies inside

import asyncio
from typing import Any

import pytest

import lockstream
from lockstream import ErrorReason
from lockstream._book import Book
from lockstream.v1 import session_pb2
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.messages import Acquire
from lockstream_server.core.model import Mode, Terms
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.requests import Requests
from lockstream_server.store.port import DeleteEntry, PutEntry, TakeOverSession
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world
from tests.unit.client.conftest import Play
from tests.unit.client.scripted import acquire_id, claim, status


def test_a_repeated_acquire_is_told_why_the_first_ended() -> None:
    with small_world(servers=2) as world:
        holder, waiter = world.client(server=1), world.client()
        world.do(holder.ask, Acquire(1, "printers", Mode.PERMITS, "", None, Terms(permits=1, limit=2)))
        world.quiesce()
        wanted = Acquire(1, "printers", Mode.PERMITS, "", None, Terms(permits=1, limit=3))
        world.do(waiter.ask, wanted)
        world.commit(PutEntry)
        world.do(waiter.cut)
        back = world.resume(waiter, server=1)
        world.commit(TakeOverSession, server=1)
        world.answer(TakeOverSession, server=1)
        world.catch_up(server=1)
        assert world.sent(DeleteEntry, server=1), "the wait is being ended"
        world.do(back.ask, wanted)
        world.quiesce()
        assert back.refusals == {"LIMIT_MISMATCH": 1}
        assert len(world.keys("printers")) == 1


async def test_a_repeated_acquire_that_the_server_takes_for_a_new_one_is_withdrawn(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a", owner="me"))
    first = await play.stream.queue()
    await play.cut()
    await play.resumed(claim(first))
    again = await play.stream.expect("acquire")
    ended = session_pb2.WaitEnded(acquire_id=acquire_id(first))
    ended.error.CopyFrom(status(ErrorReason.DEADLOCK, retryable=True))
    await play.stream.push(session_pb2.Event(wait_ended=ended))
    with pytest.raises(lockstream.Deadlock):
        await asking
    next_one = asyncio.create_task(play.session.acquire("a", owner="me"))
    cancel = await play.stream.expect("cancel")
    assert cancel.cancel.acquire_id == acquire_id(again)
    assert play.stream.unread == 0, "the owner asks for nothing before that is gone"
    await play.stream.reply(
        again, session_pb2.Reply(granted=session_pb2.Granted(acquire_id=acquire_id(again), token=8))
    )
    await play.stream.reply(cancel, session_pb2.Reply(cancelled=session_pb2.Cancelled(was_granted=True)))
    granted = await play.stream.grant(token=9)
    assert acquire_id(granted) != acquire_id(again)
    assert (await next_one).token == 9


def test_as_it_was_for_the_server() -> None:
    with as_it_was(whatever_leaves_was_another_acquire, "ACQUIRE_ID_REUSED"):
        test_a_repeated_acquire_is_told_why_the_first_ended()


async def test_as_it_was_for_the_client(play: Play) -> None:
    with as_it_was(the_end_of_a_wait_was_the_end, "acquire {"):
        await test_a_repeated_acquire_that_the_server_takes_for_a_new_one_is_withdrawn(play)


def whatever_leaves_was_another_acquire(patch: pytest.MonkeyPatch) -> None:
    repeat = Requests._repeat

    def unless_it_leaves(self: Requests, claim: Claim, *asked: Any) -> None:
        if not claim.active:
            raise LockError(Reason.ACQUIRE_ID_REUSED, f"acquire {claim.acquire} was {claim!r}")
        repeat(self, claim, *asked)

    patch.setattr(Requests, "_repeat", unless_it_leaves)


def the_end_of_a_wait_was_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Book, "end_wait", Book.fail)
