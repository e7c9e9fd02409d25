"""How long an acquire takes at the most, whoever is silent: what was asked for, or no time at all for a try."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import lockstream
from lockstream._asks import MAX_WAIT, Ask
from lockstream.v1 import session_pb2
from tests.unit.client.conftest import Opened, Play
from tests.unit.client.scripted import claim
from tests.unit.client.test_ledger import Desk

AT_ONCE = 1.0
"""Seconds, of a TTL of ten: short for waiting for a server, long for a busy machine."""


async def cut_off(play: Play) -> session_pb2.Request:
    """The stream breaks, and nobody answers on the next. What that begins with."""
    await play.cut()
    play.stream = await play.server.stream()
    return await play.stream.expect("resume")


async def comes_back(play: Play, greeting: session_pb2.Request, *claims: session_pb2.Claim) -> None:
    """The server answers after all."""
    attached = session_pb2.Attached(claims=claims, generation=2)
    attached.remaining.FromSeconds(10)
    await play.stream.reply(greeting, session_pb2.Reply(attached=attached))


# What a message can say.


@pytest.mark.parametrize("wait", [1e20, MAX_WAIT + 1, 10**400])
async def test_a_wait_that_no_message_can_carry_is_refused_and_harms_nobody(play: Play, wait: float) -> None:
    with pytest.raises(lockstream.InvalidArgument, match="wait"):
        await play.session.acquire("a", wait=wait)
    await play.acquire("b")
    greeting = await cut_off(play)
    with pytest.raises(lockstream.InvalidArgument, match="wait"):
        await play.session.acquire("a", wait=wait)
    await comes_back(play, greeting, claim(play.granted, token=7))
    await play.acquire("c")


async def test_the_longest_wait_that_a_message_can_carry_is_asked_for(play: Play) -> None:
    asking = asyncio.create_task(play.session.acquire("a", wait=MAX_WAIT))
    request = await play.stream.grant()
    await asking
    assert request.acquire.timeout.seconds in (MAX_WAIT - 1, MAX_WAIT)


# A try.


Try = Callable[[lockstream.Session], Awaitable[object]]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda session: session.try_lock("a"),
        lambda session: session.acquire("a", wait=False),
        lambda session: session.acquire_all(["a", "b"], wait=0),
    ],
    ids=["try_lock", "acquire", "acquire_all"],
)
async def test_a_try_fails_at_once_when_no_server_can_be_asked(play: Play, attempt: Try) -> None:
    greeting = await cut_off(play)
    async with asyncio.timeout(AT_ONCE):
        with pytest.raises(lockstream.ServerUnavailable) as raised:
            await attempt(play.session)
    assert raised.value.outcome_settled, "nobody was asked"
    await comes_back(play, greeting)
    await play.acquire("a")


async def test_a_try_fails_when_its_stream_breaks_and_is_taken_back(play: Play) -> None:
    trying = asyncio.create_task(play.session.try_lock("a"))
    request = await play.stream.expect("acquire")
    greeting = await cut_off(play)
    async with asyncio.timeout(AT_ONCE):
        with pytest.raises(lockstream.ServerUnavailable) as raised:
            await trying
    assert not raised.value.outcome_settled, "it may have been granted"
    await comes_back(play, greeting, claim(request, token=7))
    await play.stream.cancel()


async def test_a_try_to_upgrade_fails_at_once_and_the_shared_lock_stands(play: Play) -> None:
    lock = await play.acquire("a", shared=True)
    greeting = await cut_off(play)
    async with asyncio.timeout(AT_ONCE):
        with pytest.raises(lockstream.ServerUnavailable):
            await lock.upgrade(wait=0)
    assert lock.held
    assert lock.shared
    await comes_back(play, greeting, claim(play.granted, token=7))
    await asyncio.gather(lock.release(), play.stream.release())


async def test_a_try_waits_for_what_its_owner_gave_up_no_longer_than_for_an_answer(opened: Opened) -> None:
    async with opened(ttl=3) as play:
        cancel = await given_up(play)
        async with asyncio.timeout(2):
            with pytest.raises(lockstream.ServerUnavailable) as raised:
                await play.session.acquire("a", owner="me", wait=0)
        assert raised.value.outcome_settled
        await play.stream.reply(cancel, session_pb2.Reply(cancelled=session_pb2.Cancelled()))


# What the same owner gave up before.


async def given_up(play: Play) -> session_pb2.Request:
    """This task's acquire of "a" was cancelled, which the server has not answered yet."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await play.session.acquire("a", owner="me")
    await play.stream.queue()
    return await play.stream.expect("cancel")


async def test_a_wait_begins_with_the_call_whatever_its_owner_gave_up_before(play: Play) -> None:
    cancel = await given_up(play)
    async with asyncio.timeout(0.2 + AT_ONCE):
        with pytest.raises(lockstream.WaitTimeout, match=r"within 0\.2 s"):
            await play.session.acquire("a", owner="me", wait=0.2)
    await play.stream.reply(cancel, session_pb2.Reply(cancelled=session_pb2.Cancelled()))
    await play.acquire("a", owner="me")


async def test_what_is_left_of_the_wait_is_asked_for(play: Play) -> None:
    cancel = await given_up(play)
    asking = asyncio.create_task(play.session.acquire("a", owner="me", wait=60))
    await asyncio.sleep(0.1)
    await play.stream.reply(cancel, session_pb2.Reply(cancelled=session_pb2.Cancelled()))
    request = await play.stream.grant()
    await asking
    assert 0 < request.acquire.timeout.ToNanoseconds() <= 59.9e9


async def test_a_wait_ends_in_time_without_a_server_as_well(play: Play) -> None:
    cancel = await given_up(play)
    greeting = await cut_off(play)
    async with asyncio.timeout(0.2 + AT_ONCE):
        with pytest.raises(lockstream.WaitTimeout):
            await play.session.acquire("a", owner="me", wait=0.2)
        with pytest.raises(lockstream.ServerUnavailable):
            await play.session.acquire("a", owner="me", wait=0)
    await comes_back(play, greeting, claim(cancel))
    await play.stream.cancel()


async def test_a_wait_counts_from_when_it_is_said_to() -> None:
    desk = Desk()
    claim = desk.ledger.acquire(Ask(("a",), "me"), 105, wait=3, since=103)
    assert claim.until == 106


# Leaving a body that failed.


async def test_a_body_that_ran_out_of_time_is_left_at_once_without_a_server(play: Play) -> None:
    async def body() -> None:
        async with asyncio.timeout(0.3), play.session.lock("a"):
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    running = asyncio.create_task(body())
    request = await play.stream.grant()
    await entered.wait()
    greeting = await cut_off(play)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(running), 0.3 + AT_ONCE)
    assert running.done()
    await comes_back(play, greeting, claim(request, token=7))
    assert (await play.stream.release()).release.token == 7, "it takes place nevertheless"


async def test_a_body_that_failed_waits_for_a_silent_server_as_long_as_for_an_answer(opened: Opened) -> None:
    async with opened(ttl=1.5) as play:
        running = asyncio.create_task(failing(play))
        await play.stream.grant()
        request = await play.stream.expect("release")
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(running, 0.5 + AT_ONCE / 2)
        await play.stream.reply(request, session_pb2.Reply(released=session_pb2.Released()))


async def failing(play: Play) -> None:
    async with play.session.lock("a"):
        raise ZeroDivisionError


async def test_a_reentrant_lock_is_left_once_by_a_body_that_failed(play: Play) -> None:
    outer = await play.acquire("a", reentrant=True, owner="me")
    greeting = await cut_off(play)
    with pytest.raises(ZeroDivisionError):
        async with play.session.lock("a", reentrant=True, owner="me"):
            raise ZeroDivisionError
    assert outer.held
    await comes_back(play, greeting, claim(play.granted, token=7))
    await asyncio.gather(outer.release(), play.stream.release())
