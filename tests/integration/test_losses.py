"""A holder hears of a loss first: behind its back in etcd, etcd gone, the server gone; and what is no loss."""

import asyncio
from contextlib import suppress
from urllib.parse import quote

import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiters import SLACK_SECONDS, Stopwatch, queue_up
from tests.support.waiting import eventually, until_free
from tests.support.wire import Wire, acquire, reason, release

PROMPT_SECONDS = 0.1
"""Within this long after etcd took note, a holder is told."""


def delete_entry(etcd: EtcdProcess, name: str, session_id: str) -> None:
    """Take a session out of a queue behind the back of the service."""
    deleted = etcd.etcdctl("del", "--prefix", f"/lockstream/l/{quote(name, safe='')}/{session_id}.")
    assert deleted.strip() == "1"


async def test_a_holder_whose_entry_is_deleted_in_etcd_is_told_at_once_and_the_next_is_granted(
    client: lockstream.Client, etcd: EtcdProcess, name: str
) -> None:
    """L1."""
    async with client.session() as session, client.session() as next_in_line:
        lock = await session.acquire(name)
        other = await session.acquire(f"{name}/other")
        acquiring = await queue_up(next_in_line, name)
        await asyncio.to_thread(delete_entry, etcd, name, session.id)
        async with asyncio.timeout(PROMPT_SECONDS):
            assert await lock.lost is lockstream.LossReason.REMOVED_EXTERNALLY
            granted = await acquiring
        assert granted.token > lock.token
        assert other.held
        with pytest.raises(lockstream.LockLost):
            await lock.release()
        assert granted.held


async def test_a_loss_is_told_once(server: ServerProcess, etcd: EtcdProcess, name: str) -> None:
    """L1."""
    async with Wire(server.target) as wire:
        attached = await wire.open()
        granted = (await wire.ask(acquire(1, name))).granted
        await wire.ask(acquire(2, f"{name}/other"))
        delete_entry(etcd, name, attached.session_id)
        lost = (await wire.event()).lost
        assert (lost.acquire_id, lost.name, lost.token) == (1, name, granted.token)
        assert lost.reason == lockstream.LossReason.REMOVED_EXTERNALLY.value
        assert reason((await wire.ask(release(granted))).error) == "NOT_HELD"
        await told_nothing_more(wire)


async def test_a_waiter_whose_entry_is_deleted_in_etcd_is_told(
    client: lockstream.Client, etcd: EtcdProcess, name: str
) -> None:
    """L1, of a place in the queue."""
    async with client.session() as holder, client.session() as session:
        lock = await holder.acquire(name)
        acquiring = await queue_up(session, name)
        delete_entry(etcd, name, session.id)
        with pytest.raises(lockstream.RemovedExternally):
            await acquiring
        assert lock.held


async def test_a_session_whose_lease_is_revoked_is_told_that_every_lock_is_lost(
    client: lockstream.Client, etcd: EtcdProcess, name: str
) -> None:
    """L2."""
    async with client.session() as holder, client.session() as session:
        await holder.acquire(name)
        locks = [await session.acquire(f"{name}/{number}", shared=number % 2 == 1) for number in range(4)]
        waiting = [await queue_up(session, name), await queue_up(session, name, shared=True)]
        etcd.etcdctl("lease", "revoke", session.id)
        async with asyncio.timeout(SLACK_SECONDS):
            reasons = await asyncio.gather(*(lock.lost for lock in locks))
        assert reasons == [lockstream.LossReason.LEASE_EXPIRED] * len(locks)
        for acquiring in waiting:
            with pytest.raises(lockstream.SessionExpired):
                await acquiring
        assert isinstance(session.ended, lockstream.SessionExpired)


@pytest.mark.parametrize("its_server", ["lives", "is killed"])
async def test_what_a_lease_that_ended_early_proved_is_not_granted_to_others(
    start_server: StartServer, etcd: EtcdProcess, name: str, its_server: str
) -> None:
    """L2. As a leader of etcd does it that was frozen. Who knows the proof waits for its end, and others for a TTL."""
    ttl = 3
    of_holder, of_waiter = start_server(etcd.endpoint), start_server(etcd.endpoint)
    async with Wire(of_holder.target) as holder, Wire(of_waiter.target) as waiter:
        attached = await holder.open(ttl=ttl)
        await holder.hold(acquire(1, name))
        await waiter.open()
        await waiter.queue(acquire(1, name))
        watch = Stopwatch()
        proof = (await holder.ask(session_pb2.Heartbeat())).proof.remaining.ToTimedelta().total_seconds()
        assert proof > ttl / 2
        if its_server == "is killed":
            of_holder.kill()
        etcd.etcdctl("lease", "revoke", attached.session_id)
        await waiter.told("granted")
        assert proof <= watch.seconds <= ttl + SLACK_SECONDS


async def test_a_release_is_no_loss(server: ServerProcess, name: str) -> None:
    """L3. Neither of the lock nor at the session's end."""
    async with Wire(server.target) as wire:
        await wire.open()
        for acquire_id in range(1, 6):
            granted = (await wire.ask(acquire(acquire_id, name))).granted
            assert (await wire.ask(release(granted))).HasField("released")
        await told_nothing_more(wire)
        await wire.ask(acquire(6, name))
        assert (await wire.ask(session_pb2.Close())).HasField("closed")
        with pytest.raises(EOFError, match="OK"):
            await wire.event()


async def test_on_lost_is_not_called_for_a_release(client: lockstream.Client, name: str) -> None:
    """L3."""
    losses: list[lockstream.LossReason] = []
    async with client.session() as session:
        async with session.lock(name, on_lost=lambda _, why: losses.append(why)) as lock:
            pass
        assert await lock.lost is None
    assert losses == []


async def test_when_etcd_stops_answering_holders_are_warned_and_told_before_anybody_else_is_granted(
    own_etcd: EtcdProcess, start_server: StartServer, name: str
) -> None:
    """L4. Frozen for longer than the TTL."""
    ttl = 3
    server, other = start_server(own_etcd.endpoint), start_server(own_etcd.endpoint)
    async with Wire(server.target) as wire, lockstream.connect(other.target) as elsewhere:
        await wire.open(ttl=ttl)
        granted = (await wire.ask(acquire(1, name))).granted
        async with elsewhere.session(ttl=60) as next_in_line:
            acquiring = await queue_up(next_in_line, name)
            own_etcd.freeze()
            frozen = Stopwatch()
            jeopardy = await wire.event()
            assert jeopardy.HasField("jeopardy")
            # The last renewal was answered up to a third of the TTL before.
            assert ttl / 2 - ttl / 3 - 0.1 <= frozen.seconds <= ttl / 2 + 0.2
            lost = (await wire.event()).lost
            assert (lost.token, lost.reason) == (granted.token, lockstream.LossReason.UNPROVEN.value)
            assert frozen.seconds <= ttl + 0.2
            ended = (await wire.event()).session_ended.error
            assert reason(ended) == "SESSION_EXPIRED"
            assert not acquiring.done()
            own_etcd.thaw()
            assert (await acquiring).token > granted.token
        async with lockstream.connect(server.target) as client, client.session() as session:
            assert (await session.acquire(name)).held


async def test_nothing_is_lost_when_etcd_stops_answering_for_a_quarter_of_the_ttl(
    own_etcd: EtcdProcess, own_server: ServerProcess, name: str
) -> None:
    """L4."""
    ttl = 3
    async with lockstream.connect(own_server.target, ttl=ttl) as client, client.session() as session:
        lock = await session.acquire(name)
        frozen = Stopwatch()
        own_etcd.freeze()
        await eventually(lambda: frozen.seconds >= ttl / 4, "a quarter of the TTL has passed")
        own_etcd.thaw()
        await eventually(lambda: frozen.seconds > 1.2 * ttl, "the TTL has passed")
        assert lock.held
        assert await client.check_token(name, lock.token)


async def test_jeopardy_that_passes_is_followed_by_safe(
    own_etcd: EtcdProcess, own_server: ServerProcess, name: str
) -> None:
    """L4. Frozen until the warning, and no longer."""
    async with Wire(own_server.target) as wire:
        await wire.open(ttl=4)
        granted = (await wire.ask(acquire(1, name))).granted
        own_etcd.freeze()
        assert (await wire.event()).HasField("jeopardy")
        own_etcd.thaw()
        assert (await wire.event()).HasField("safe")
        assert (await wire.ask(release(granted))).HasField("released")


async def test_when_its_server_freezes_the_client_ends_its_lock_by_its_own_clock(
    etcd: EtcdProcess, server: ServerProcess, start_server: StartServer, name: str
) -> None:
    """L5. Nobody tells it, and nobody else is granted before it knows."""
    ttl = 2
    freezing = start_server(etcd.endpoint)
    async with (
        lockstream.connect(server.target) as elsewhere,
        elsewhere.session() as next_in_line,
        lockstream.connect(freezing.target, ttl=ttl) as client,
        client.session() as session,
    ):
        entered = asyncio.Event()

        async def work() -> None:
            async with session.lock(name):
                entered.set()
                await asyncio.get_running_loop().create_future()

        working = asyncio.create_task(work())
        await entered.wait()
        acquiring = await queue_up(next_in_line, name)
        frozen = Stopwatch()
        freezing.freeze()
        with pytest.raises(lockstream.LockLost) as raised:
            await working
        assert raised.value.reason is lockstream.LossReason.UNPROVEN
        assert frozen.seconds <= ttl + 0.1
        assert not acquiring.done()
        await acquiring
        freezing.thaw()


async def test_a_body_that_raises_leaves_no_lock_behind(client: lockstream.Client, name: str) -> None:
    """L6."""
    async with client.session() as session:
        for _ in range(20):
            with pytest.raises(ZeroDivisionError):
                async with session.lock(name):
                    raise ZeroDivisionError
            assert (await client.get_lock(name, linearizable=True)).entries == ()


async def test_a_task_cancelled_at_any_moment_around_its_grant_leaves_no_lock_behind(
    client: lockstream.Client, name: str
) -> None:
    """L6. The moments go from before the request is sent to long after the reply came."""
    async with client.session() as session, client.session() as other:
        for step in range(60):
            task = asyncio.create_task(_hold(session, name))
            asyncio.get_running_loop().call_later(step * 0.0001, task.cancel)
            with suppress(asyncio.CancelledError):
                await task
            async with other.lock(name, wait=SLACK_SECONDS):
                pass
        await until_free(client, name)


async def _hold(session: lockstream.Session, name: str) -> None:
    async with session.lock(name):
        await asyncio.sleep(0)


async def told_nothing_more(wire: Wire) -> None:
    """No event is on its way: a request which causes none is answered, and none came before."""
    assert (await wire.ask(session_pb2.Heartbeat())).HasField("proof")
    assert wire.unread == []
