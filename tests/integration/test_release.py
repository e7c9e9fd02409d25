"""Exclusive locks: giving them up, and asking for what one has."""

import asyncio

import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.support.etcd import EtcdProcess
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess
from tests.support.waiting import until_free, until_queued
from tests.support.wire import Wire, acquire, reason, release


async def test_an_owner_who_asks_for_what_it_holds_is_refused(client: lockstream.Client, name: str) -> None:
    """X13: ALREADY_HELD at once instead of waiting for itself; the lock is untouched."""
    async with client.session() as session:
        lock = await session.acquire(name)
        async with asyncio.timeout(1):
            with pytest.raises(lockstream.AlreadyHeld):
                await session.acquire(name)
            with pytest.raises(lockstream.AlreadyHeld):
                await session.acquire(name, shared=True, wait=0)
        assert await client.check_token(name, lock.token)


async def test_an_owner_who_asks_for_what_it_awaits_is_refused(client: lockstream.Client, name: str) -> None:
    """X13: a place in the queue counts like the lock itself."""
    async with client.session() as holder, client.session() as session:
        await holder.acquire(name)
        waiting = asyncio.create_task(session.acquire(name, owner="me"))
        await until_queued(client, name, 1)
        async with asyncio.timeout(1):
            with pytest.raises(lockstream.AlreadyHeld):
                await session.acquire(name, owner="me")
        assert len((await client.get_lock(name, linearizable=True)).waiters) == 1
        waiting.cancel()


async def test_another_owner_in_the_same_session_waits_like_anyone(client: lockstream.Client, name: str) -> None:
    """X13: WOULD_BLOCK for a try, a place in the queue for a wait, the lock after the release."""
    async with client.session() as session:
        lock = await session.acquire(name, owner="one")
        with pytest.raises(lockstream.WouldBlock):
            await session.acquire(name, owner="two", wait=0)
        waiting = asyncio.create_task(session.acquire(name, owner="two"))
        view = await until_queued(client, name, 1)
        assert [entry.owner for entry in view.entries] == ["one", "two"]
        await lock.release()
        assert (await waiting).token > lock.token


async def test_a_release_by_somebody_else_is_refused(
    server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """X14: NOT_HELD for another session, even with the right id and token."""
    async with Wire(server.target) as holder, Wire(server.target) as other:
        await holder.open()
        await other.open()
        granted = (await holder.ask(acquire(1, name))).granted
        assert reason((await other.ask(release(granted))).error) == "NOT_HELD"
        assert await client.check_token(name, granted.token)


async def test_a_waiter_has_nothing_to_release(server: ServerProcess, client: lockstream.Client, name: str) -> None:
    """X14: NOT_HELD, and its place in the queue is untouched."""
    async with Wire(server.target) as holder, Wire(server.target) as waiter:
        await holder.open()
        await waiter.open()
        await holder.ask(acquire(1, name))
        await waiter.ask(acquire(1, name))
        token = (await client.get_lock(name, linearizable=True)).waiters[0].token
        assert reason((await waiter.ask(session_pb2.Release(acquire_id=1, token=token))).error) == "NOT_HELD"
        assert len((await client.get_lock(name, linearizable=True)).waiters) == 1


async def test_a_release_with_a_stale_token_is_refused(
    server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """X14: STALE_TOKEN, and the hold is untouched."""
    async with Wire(server.target) as wire:
        await wire.open()
        first = (await wire.ask(acquire(1, name))).granted
        await wire.ask(release(first))
        second = (await wire.ask(acquire(2, name))).granted
        late = session_pb2.Release(acquire_id=second.acquire_id, token=first.token)
        assert reason((await wire.ask(late)).error) == "STALE_TOKEN"
        assert await client.check_token(name, second.token)


async def test_a_second_release_is_refused(server: ServerProcess, client: lockstream.Client, name: str) -> None:
    """X14: NOT_HELD, and the grant that came after it is untouched, another's or the session's own."""
    async with Wire(server.target) as wire, Wire(server.target) as other:
        await wire.open()
        await other.open()
        first = (await wire.ask(acquire(1, name))).granted
        assert (await wire.ask(release(first))).HasField("released")
        later = (await other.ask(acquire(1, name))).granted
        assert reason((await wire.ask(release(first))).error) == "NOT_HELD"
        assert await client.check_token(name, later.token)
        await other.ask(release(later))
        own = (await wire.ask(acquire(2, name))).granted
        assert reason((await wire.ask(release(first))).error) == "NOT_HELD"
        assert await client.check_token(name, own.token)


async def test_the_client_refuses_a_second_release(client: lockstream.Client, name: str) -> None:
    """X14: the object of a released lock is of no more use."""
    async with client.session() as session:
        lock = await session.acquire(name)
        await lock.release()
        with pytest.raises(lockstream.NotHeld):
            await lock.release()


async def test_a_release_whose_reply_was_lost_succeeds(
    server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """X14: the connection breaks after the server released and before the client learns of it."""
    async with (
        Proxy(server.port) as proxy,
        lockstream.connect(proxy.target) as unlucky,
        unlucky.session() as session,
        client.session() as other,
    ):
        lock = await session.acquire(name)
        proxy.mute()
        releasing = asyncio.create_task(lock.release())
        await until_free(client, name)
        assert not releasing.done()
        later = await other.acquire(name, wait=0)
        await proxy.cut()
        await releasing
        assert session.generation == 2
        assert await client.check_token(name, later.token)


async def test_an_acquire_that_states_as_little_as_possible_is_a_lock(
    server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """X15: no mode, no owner, no wait stated."""
    async with Wire(server.target) as wire, client.session() as other:
        await wire.open()
        reply = await wire.ask(session_pb2.Acquire(acquire_id=1, name=name))
        assert reply.granted.token > 0
        with pytest.raises(lockstream.WouldBlock):
            await other.acquire(name, wait=0)


async def test_a_key_with_an_empty_value_is_a_lock(
    etcd: EtcdProcess, client: lockstream.Client, name: str, lock_key: str
) -> None:
    """X15: what counts is that the key is there."""
    etcd.etcdctl("put", f"{lock_key}/somebody", "")
    async with client.session() as session:
        with pytest.raises(lockstream.WouldBlock):
            await session.acquire(name, wait=0)
        waiting = asyncio.create_task(session.acquire(name))
        view = await until_queued(client, name, 1)
        assert [entry.session_id for entry in view.holders] == [""]
        etcd.etcdctl("del", f"{lock_key}/somebody")
        assert (await waiting).held
