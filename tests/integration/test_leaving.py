"""How locks pass on when a session leaves: killed, cut off, hanging, or politely."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.support.etcd import EtcdProcess
from tests.support.holder import Holder
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess
from tests.support.waiters import SLACK_SECONDS, Stopwatch, queue_up
from tests.support.waiting import eventually
from tests.support.wire import Wire, acquire

TTL = 2


@pytest.fixture
async def waiter(client: lockstream.Client) -> AsyncIterator[lockstream.Session]:
    """A session for whoever comes next."""
    async with client.session() as session:
        yield session


@pytest.mark.parametrize("grace", [0, 1])
async def test_a_killed_holders_lock_passes_on_after_the_grace_it_chose(
    server: ServerProcess, waiter: lockstream.Session, name: str, tmp_path: Path, grace: float
) -> None:
    """N1."""
    holder = Holder(server.target, name, tmp_path, ttl=10, grace=grace)
    with holder.process:
        await holder.holds()
        acquiring = await queue_up(waiter, name)
        killed = Stopwatch()
        holder.process.kill()
        lock = await acquiring
    assert grace - 0.1 <= killed.seconds <= grace + SLACK_SECONDS
    assert lock.token > int(holder.said("held")["token"])


async def test_a_vanished_holder_knows_before_its_lock_passes_on_after_its_ttl(
    server: ServerProcess, waiter: lockstream.Session, name: str
) -> None:
    """N1. The network swallows everything and no connection breaks: only missing heartbeats tell the server."""
    async with (
        Proxy(server.port) as proxy,
        lockstream.connect(proxy.target, ttl=TTL) as far,
        far.session() as session,
    ):
        lock = await session.acquire(name)
        acquiring = await queue_up(waiter, name)
        vanished = Stopwatch()
        proxy.pause()
        assert await lock.lost is lockstream.LossReason.UNPROVEN
        assert not acquiring.done()
        await acquiring
        assert vanished.seconds <= TTL + SLACK_SECONDS


async def test_closing_a_session_frees_its_locks_and_places_at_once(
    client: lockstream.Client, waiter: lockstream.Session, name: str
) -> None:
    """N2."""
    leaving = client.session(ttl=60)
    await leaving.open()
    await leaving.acquire(name)
    acquiring = await queue_up(waiter, name)
    closing = Stopwatch()
    await leaving.close()
    lock = await acquiring
    assert closing.seconds < SLACK_SECONDS
    async with client.session(ttl=60) as between:
        place = await queue_up(between, name)
    with pytest.raises(lockstream.SessionExpired):
        await place
    assert [entry.token for entry in (await client.get_lock(name, linearizable=True)).entries] == [lock.token]


async def test_the_end_of_async_with_frees_locks_at_once(
    client: lockstream.Client, waiter: lockstream.Session, name: str
) -> None:
    """N2."""
    async with client.session(ttl=60) as leaving:
        await leaving.acquire(name)
        acquiring = await queue_up(waiter, name)
        closing = Stopwatch()
    await acquiring
    assert closing.seconds < SLACK_SECONDS


async def test_closing_a_client_frees_what_its_sessions_hold(
    server: ServerProcess, waiter: lockstream.Session, name: str
) -> None:
    """N2."""
    async with lockstream.connect(server.target, ttl=60) as leaving:
        async with leaving.lock(f"{name}/released"):
            pass
        session = leaving.session()
        await session.open()
        await session.acquire(name)
    lock = await waiter.acquire(name, wait=SLACK_SECONDS)
    assert lock.held


async def test_the_second_close_and_everything_on_a_closed_session_are_typed_errors(
    client: lockstream.Client, name: str
) -> None:
    """N7."""
    session = client.session()
    await session.open()
    lock = await session.acquire(name)
    await session.close()
    for refused in (session.close(), session.acquire(name), session.open()):
        with pytest.raises(lockstream.WrongState):
            await refused
    with pytest.raises(lockstream.LockLost):
        await lock.release()
    assert not lock.held


async def test_a_waiter_whose_own_session_dies_is_told_at_once(
    client: lockstream.Client, waiter: lockstream.Session, etcd: EtcdProcess, name: str
) -> None:
    """N8."""
    async with client.session() as holder, client.session() as dying:
        lock = await holder.acquire(name)
        acquiring = await queue_up(dying, name)
        dies = Stopwatch()
        etcd.etcdctl("lease", "revoke", dying.id)
        with pytest.raises(lockstream.SessionExpired):
            await acquiring
        assert dies.seconds < SLACK_SECONDS
        assert lock.held


async def test_a_client_that_stops_sending_the_heartbeats_it_declared_loses_its_session(
    server: ServerProcess, waiter: lockstream.Session, name: str
) -> None:
    """N11. Its connection is fine and answers pings; its program does nothing."""
    async with Wire(server.target) as wire:
        opening = session_pb2.Open(heartbeats=True)
        opening.ttl.FromSeconds(TTL)
        hangs = Stopwatch()
        await wire.ask(opening)
        await wire.ask(acquire(1, name))
        await waiter.acquire(name)
        assert TTL - 0.1 <= hangs.seconds <= TTL + SLACK_SECONDS
        assert (await wire.event()).lost.acquire_id == 1
        assert (await wire.event()).HasField("session_ended")


async def test_a_client_that_declared_no_heartbeats_keeps_its_session_without(
    server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """N11, the other way round: an open connection that answers pings is enough."""
    async with Wire(server.target) as wire:
        attached = await wire.open(ttl=TTL)
        granted = (await wire.ask(acquire(1, name))).granted
        opened = Stopwatch()

        async def outlived() -> bool:
            await client.get_session(attached.session_id)
            return opened.seconds > 1.25 * TTL

        await eventually(outlived, "the session outlives its TTL")
        assert await client.check_token(name, granted.token)


async def test_a_stopped_client_process_loses_its_lock_after_its_ttl_and_knows_when_it_goes_on(
    server: ServerProcess, waiter: lockstream.Session, name: str, tmp_path: Path
) -> None:
    """N11. SIGSTOP."""
    holder = Holder(server.target, name, tmp_path, ttl=TTL, grace=TTL)
    with holder.process:
        await holder.holds()
        acquiring = await queue_up(waiter, name)
        stopped = Stopwatch()
        holder.process.freeze()
        await acquiring
        assert stopped.seconds <= TTL + SLACK_SECONDS
        assert holder.said("lost") == {}
        holder.process.thaw()
        await eventually(lambda: holder.said("lost") != {}, "the holder knows")


async def test_a_client_whose_event_loop_is_blocked_loses_its_lock_after_its_ttl(
    server: ServerProcess, waiter: lockstream.Session, name: str, tmp_path: Path
) -> None:
    """N11."""
    holder = Holder(server.target, name, tmp_path, ttl=TTL, grace=TTL, block=TTL + SLACK_SECONDS)
    with holder.process:
        await holder.holds()
        blocked = Stopwatch()
        await waiter.acquire(name)
        assert blocked.seconds <= TTL + SLACK_SECONDS
        assert holder.said("lost") == {}
        await eventually(lambda: holder.said("lost") != {}, "the holder knows")
