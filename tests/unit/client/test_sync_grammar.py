"""The synchronous twin says and hears what the asynchronous client does, beside a server that the test plays."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING

import pytest

import lockstream
import lockstream.sync
from lockstream import LossReason, Part
from lockstream.v1 import session_pb2
from tests.unit.client.scripted import PlayedStream, ScriptedServer, acquire_id, lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Twin:
    """An open synchronous session; its calls block on a thread of the test's."""

    def __init__(self, session: lockstream.sync.Session, stream: PlayedStream) -> None:
        self.session = session
        self.stream = stream

    async def shared(self) -> lockstream.sync.Lock:
        acquiring = asyncio.to_thread(self.session.acquire, "a", shared=True)
        lock, self.granted = await asyncio.gather(acquiring, self.stream.grant(5))
        return lock


@pytest.fixture
async def twin(server: ScriptedServer) -> AsyncIterator[Twin]:
    client = await asyncio.to_thread(lockstream.sync.connect, server.target)
    session = client.session()
    opening = asyncio.create_task(asyncio.to_thread(session.open))
    stream = await server.stream()
    await stream.attach()
    await opening
    yield Twin(session, stream)
    await asyncio.gather(stream.close(), asyncio.to_thread(session.close))
    await asyncio.to_thread(client.close)


async def test_terms_are_sent_as_stated(twin: Twin) -> None:
    def body() -> tuple[int, int]:
        with twin.session.semaphore("a", limit=4, permits=3, value=b"v", max_hold=9) as lock:
            return lock.permits, lock.token

    running = asyncio.create_task(asyncio.to_thread(body))
    acquire = (await twin.stream.grant(7)).acquire
    assert (acquire.permits, acquire.limit, acquire.value, acquire.max_hold.seconds) == (3, 4, b"v", 9)
    await twin.stream.release()
    assert await running == (3, 7)


async def test_several_locks_at_once(twin: Twin) -> None:
    def body() -> tuple[str, ...]:
        with twin.session.lock_all(["a", Part("b", shared=True)], wait=3) as lock:
            return lock.names

    running = asyncio.create_task(asyncio.to_thread(body))
    acquire = (await twin.stream.grant(7, "acquire_all")).acquire_all
    assert [part.name for part in acquire.parts] == ["a", "b"]
    assert acquire.owner.startswith("thread-")
    await twin.stream.release()
    assert await running == ("a", "b")


async def test_up_and_down_and_a_new_value(twin: Twin) -> None:
    lock = await twin.shared()
    await asyncio.gather(asyncio.to_thread(lock.upgrade, wait=2), twin.stream.grant(9, "upgrade"))
    assert (lock.token, lock.shared) == (9, False)
    _, change = await asyncio.gather(asyncio.to_thread(lock.set_value, b"v", {"k": "v"}), twin.stream.set_value())
    assert (change.set_value.value, change.set_value.token) == (b"v", 9)
    await asyncio.gather(asyncio.to_thread(lock.downgrade), twin.stream.downgrade())
    assert (lock.token, lock.shared, lock.held) == (9, True, True)
    releasing = asyncio.create_task(asyncio.to_thread(lock.release))
    assert {(await twin.stream.release()).release.token for _ in range(2)} == {5, 9}
    await releasing


async def test_a_refused_upgrade_leaves_the_shared_lock(twin: Twin) -> None:
    lock = await twin.shared()
    upgrading = asyncio.create_task(asyncio.to_thread(lock.upgrade))
    await twin.stream.refuse(await twin.stream.expect("upgrade"), lockstream.ErrorReason.UPGRADE_CONFLICT)
    with pytest.raises(lockstream.UpgradeConflict):
        await upgrading
    assert (lock.token, lock.held) == (5, True)


async def test_each_thread_enters_its_own_lock_again(twin: Twin) -> None:
    def nested(names: list[str]) -> None:
        with (
            twin.session.lock("a", reentrant=True) as outer,
            twin.session.lock("a", reentrant=True, wait=0) as inner,
        ):
            assert inner.token == outer.token
            names.append(outer.owner)

    owners: list[str] = []
    for _ in range(2):
        thread = threading.Thread(target=nested, args=(owners,))
        thread.start()
        await twin.stream.grant()
        await twin.stream.release()  # comes right after the acquire, or `expect` fails
        await asyncio.to_thread(thread.join)
    assert len(set(owners)) == 2


async def test_callbacks_are_given_the_blocking_lock(twin: Twin) -> None:
    news: queue.Queue[object] = queue.Queue()

    def on_lost(lock: lockstream.sync.Lock, reason: LossReason) -> None:
        news.put((type(lock), lock.token, reason))
        try:
            lock.release()
        except lockstream.WrongState:
            news.put("refused")  # waiting for the client on the client's own thread would last for ever

    def on_yield(lock: lockstream.sync.Lock, remaining: float | None) -> None:
        news.put((type(lock), lock.yield_requested, remaining))

    acquiring = asyncio.to_thread(twin.session.acquire, "a", on_lost=on_lost, on_yield=on_yield)
    lock, request = await asyncio.gather(acquiring, twin.stream.grant(7))
    wish = session_pb2.YieldRequested(acquire_id=acquire_id(request), token=7)
    await twin.stream.push(session_pb2.Event(yield_requested=wish))
    assert await asyncio.to_thread(news.get) == (lockstream.sync.Lock, True, None)
    await twin.stream.push(lost(request, 7, LossReason.FORCE_RELEASED, "stuck", "alice"))
    assert await asyncio.to_thread(news.get) == (lockstream.sync.Lock, 7, LossReason.FORCE_RELEASED)
    assert await asyncio.to_thread(news.get) == "refused"
    assert (lock.lost.reason, lock.lost.detail, lock.lost.actor) == (LossReason.FORCE_RELEASED, "stuck", "alice")


async def test_a_body_that_was_broken_raises_who_and_why_at_its_end(twin: Twin) -> None:
    broken = threading.Event()

    def body() -> None:
        with twin.session.lock_all(["a", "b"]) as lock:
            lock.lost.wait()
            broken.set()

    running = asyncio.create_task(asyncio.to_thread(body))
    request = await twin.stream.grant(7, "acquire_all")
    await twin.stream.push(lost(request, 7, LossReason.FORCE_RELEASED, "stuck", "alice"))
    with pytest.raises(lockstream.LockLost, match="FORCE_RELEASED by alice: stuck"):
        await running
    assert broken.is_set()


async def test_a_waiter_asks_for_what_another_thread_waits_for(twin: Twin) -> None:
    queued = threading.Event()
    acquiring = asyncio.create_task(asyncio.to_thread(twin.session.acquire, "a", on_wait=lambda _: queued.set()))
    request = await twin.stream.queue()
    await asyncio.to_thread(queued.wait)
    asking = asyncio.create_task(asyncio.to_thread(twin.session.request_yield, "a"))
    wish = await twin.stream.expect("request_yield")
    await twin.stream.reply(wish, session_pb2.Reply(yield_asked=session_pb2.YieldAsked()))
    await asking
    granted = session_pb2.Granted(acquire_id=acquire_id(request), token=9)
    await twin.stream.push(session_pb2.Event(granted=granted))
    assert (await acquiring).held
