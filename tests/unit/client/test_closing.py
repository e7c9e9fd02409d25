"""What is closed stays closed, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

import pytest

import lockstream
import lockstream.sync
from lockstream import ErrorReason
from lockstream.v1 import session_pb2
from tests.unit.client.scripted import status
from tests.unit.client.test_ledger import Desk

if TYPE_CHECKING:
    from lockstream.testing import LockstreamServer
    from tests.unit.client.conftest import Opened, Play
    from tests.unit.client.scripted import ScriptedServer


async def sessions(looker: lockstream.Client, name: str) -> int:
    return len(await looker.list_sessions(client_name=name))


# A client.


async def test_a_client_ends_the_sessions_that_the_program_forgot(lockstream_server: LockstreamServer) -> None:
    async with lockstream.connect(lockstream_server.target) as looker:
        client = await lockstream.connect(lockstream_server.target, name="forgetful")

        async def hold() -> None:
            session = client.session()
            await session.open()
            await session.acquire("a")

        await asyncio.create_task(hold())
        gc.collect()
        assert (await looker.get_lock("a")).holders
        await client.close()
        assert await sessions(looker, "forgetful") == 0
        assert not (await looker.get_lock("a")).holders


async def test_a_forgotten_session_that_lives_does_not_come_back(opened: Opened) -> None:
    """Once the client is closed no stream is opened for anybody."""
    async with opened() as play:
        client = await lockstream.connect(play.server.target)
        opening = asyncio.create_task(client.session().open())
        stream = await play.server.stream()
        await stream.attach()
        await opening
        del opening
        gc.collect()
        await asyncio.gather(stream.close(), client.close())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(play.server.stream(), 0.5)


async def test_a_closed_client_refuses_everything(lockstream_server: LockstreamServer) -> None:
    client = await lockstream.connect(lockstream_server.target)
    early = client.session()
    await client.shared_session()
    await client.close()
    await client.close()
    for asked in (
        client.get_lock("a"),
        client.check_token("a", 1),
        client.admin.end_session("00000000000000a1", reason="a test", actor="a test"),
        client.shared_session(),
        client.wait_until_free("a"),
        client.lock("a").__aenter__(),
        early.open(),
    ):
        with pytest.raises(lockstream.WrongState, match="closed"):
            await asked
    for make in (client.session, client.watch_locks):
        with pytest.raises(lockstream.WrongState, match="closed"):
            make()


async def test_a_session_that_is_being_opened_is_not_opened_any_more(server: ScriptedServer) -> None:
    client = await lockstream.connect(server.target)
    opening = asyncio.create_task(client.shared_session())
    stream = await server.stream()
    await stream.expect("open")
    async with asyncio.timeout(3):
        await client.close()
        with pytest.raises(lockstream.WrongState, match="closed"):
            await opening
    stream.ended.set()
    with pytest.raises(lockstream.WrongState, match="closed"):
        await client.shared_session()


async def test_a_session_between_two_attempts_to_open_is_not_opened_any_more(server: ScriptedServer) -> None:
    client = await lockstream.connect(server.target, backoff_min=30, backoff_max=60, connect_timeout=120)
    opening = asyncio.create_task(client.session().open())
    stream = await server.stream()
    await stream.refuse(await stream.expect("open"), ErrorReason.STORE_UNAVAILABLE, retryable=True)
    with pytest.raises(AssertionError, match="left"):
        await stream.receive()
    async with asyncio.timeout(5):
        await client.close()
        with pytest.raises(lockstream.WrongState, match="closed"):
            await opening


async def test_a_session_opened_at_the_moment_of_a_cancellation_is_closed(server: ScriptedServer) -> None:
    """Nobody has it, so that it would be kept for ever."""
    client = await lockstream.connect(server.target)
    session = client.session()
    opening = asyncio.create_task(session.open())
    stream = await server.stream()
    await stream.attach()
    while not session.id:  # noqa: ASYNC110 - the very turn of the loop matters, in which the answer is read
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    stream = await server.stream()
    await stream.attach(action="resume", generation=2)
    async with asyncio.timeout(2):
        await asyncio.gather(stream.close(), client.close())
    with pytest.raises(lockstream.WrongState, match="opened already"):
        await session.open()


async def test_a_session_that_is_being_opened_is_not_opened_twice(server: ScriptedServer) -> None:
    async with lockstream.connect(server.target) as client:
        session = client.session()
        opening = asyncio.create_task(session.open())
        stream = await server.stream()
        with pytest.raises(lockstream.WrongState, match="opened already"):
            await asyncio.wait_for(session.open(), 2)
        await stream.attach()
        await opening
        await asyncio.gather(stream.close(), session.close())


async def test_an_interrupted_close_goes_on_and_can_be_waited_for(server: ScriptedServer) -> None:
    client = await lockstream.connect(server.target)
    opening = asyncio.create_task(client.session().open())
    stream = await server.stream()
    await stream.attach()
    await opening
    closing = asyncio.create_task(client.close())
    request = await stream.expect("close")
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    again = asyncio.create_task(client.close())
    await stream.reply_to_close(request)
    async with asyncio.timeout(2):
        await again
    with pytest.raises(lockstream.WrongState, match="closed"):
        await client.get_lock("a")


def test_a_blocking_client_can_be_closed_inside_of_its_context() -> None:
    with lockstream.sync.connect("local:") as client:
        with client.session() as session, pytest.raises(lockstream.LockLost), session.lock("a"):
            client.close()
        client.close()
    with pytest.raises(lockstream.WrongState, match="closed"):
        client.list_locks()


def test_the_error_of_a_body_that_closed_the_client_is_told() -> None:
    def body() -> None:
        with lockstream.sync.connect("local:") as client, client.session() as session, session.lock("a"):
            client.close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()


def test_a_callback_does_not_close_the_client_that_calls_it() -> None:
    """The thread would wait for itself; the client goes on."""
    told: list[BaseException] = []
    with lockstream.sync.connect("local:") as client:

        def close(_position: int) -> None:
            try:
                client.close()
            except lockstream.WrongState as error:
                told.append(error)

        with client.session() as one, client.session() as two, one.lock("a"):
            with pytest.raises(lockstream.WaitTimeout):
                two.acquire("a", on_wait=close, wait=0.2)
            assert "callback" in str(told[0])


# A session.


def request(desk: Desk) -> session_pb2.Request:
    """The next one that the ledger sends."""
    frame = desk.link.take()
    assert frame is not None
    [request] = frame.requests
    return request


async def test_a_heartbeat_that_fails_is_no_answer_to_a_close() -> None:
    desk = Desk()
    desk.ledger.tick(103)
    heartbeat = request(desk)
    answer = desk.ledger.close()
    close = request(desk)
    away = status(ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False)
    for asked, answered in ((heartbeat, False), (close, True)):
        reply = session_pb2.Reply(request_id=asked.request_id, error=away)
        desk.read(session_pb2.Response(reply=reply), 104)
        assert answer.done() is answered
    assert isinstance(answer.exception(), lockstream.StoreUnavailable)


async def test_a_close_that_the_server_could_not_do_is_logged(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def refuse() -> None:
        request = await play.stream.expect("close")
        await play.stream.refuse(request, ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False)

    with caplog.at_level(logging.WARNING, "lockstream"):
        await asyncio.gather(play.session.close(), refuse())
    assert "was not closed" in caplog.text
    assert "STORE_UNAVAILABLE" in caplog.text


async def test_the_end_of_a_context_waits_for_a_close_under_way(play: Play) -> None:
    closing = asyncio.create_task(play.session.close())
    request = await play.stream.expect("close")
    leaving = asyncio.create_task(play.session.__aexit__(None, None, None))
    await asyncio.sleep(0)
    await play.stream.reply_to_close(request)
    await asyncio.gather(closing, leaving)


async def test_an_interrupted_close_between_two_streams_goes_on(play: Play) -> None:
    """The server is to know of it, and whoever leaves the context waits for that."""
    await play.cut()
    attempt = await play.server.stream()
    closing = asyncio.create_task(play.session.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    leaving = asyncio.create_task(play.session.__aexit__(None, None, None))
    await attempt.attach(action="resume", generation=2)
    close = await attempt.expect("close")
    assert not leaving.done()
    await attempt.reply_to_close(close)
    async with asyncio.timeout(2):
        await leaving
