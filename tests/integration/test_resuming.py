"""A broken connection is not a lost lock: resuming within the TTL, and what comes too late."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.support.etcd import EtcdProcess
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess
from tests.support.waiters import SLACK_SECONDS, Stopwatch, queue_up
from tests.support.waiting import eventually
from tests.support.wire import Wire, acquire, reason, release


@pytest.fixture
async def proxy(server: ServerProcess) -> AsyncIterator[Proxy]:
    """The network between `far` and the server."""
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[lockstream.Client]:
    """A client behind the proxy."""
    async with lockstream.connect(proxy.target) as client:
        yield client


async def resumed(session: lockstream.Session, generation: int) -> None:
    """Wait until the session was attached that often."""
    await eventually(lambda: session.generation == generation and session.attached, "the session is resumed")


async def queue_of(client: lockstream.Client, name: str) -> list[tuple[str, int, int]]:
    """Every entry in its order: session, fencing token and place, 0 for a holder."""
    entries = (await client.get_lock(name, linearizable=True)).entries
    return [(entry.session_id, entry.token, entry.position) for entry in entries]


async def test_a_place_is_kept_over_thirty_seconds_of_waiting_and_two_reconnects(
    client: lockstream.Client, proxy: Proxy, far: lockstream.Client, name: str
) -> None:
    """N3. The longest of all tests: its subject is time. The TTL passes ten times over."""
    waited = Stopwatch()
    async with client.session() as holder, far.session(ttl=3) as waiter, client.session() as last:
        lock = await holder.acquire(name)
        acquiring = await queue_up(waiter, name)
        behind = await queue_up(last, name)
        queue = await queue_of(client, name)
        for generation, moment in enumerate((10, 20, 30), start=2):
            await eventually(lambda moment=moment: waited.seconds > moment, f"{moment} s have passed", timeout=15)
            assert await queue_of(client, name) == queue
            if moment < 30:
                await proxy.cut()
                await resumed(waiter, generation)
        await lock.release()
        mine = await acquiring
        assert mine.token == queue[1][1]
        assert not behind.done()
        await mine.release()
        await behind


async def test_a_session_cut_off_and_resumed_has_its_locks_tokens_and_places(
    client: lockstream.Client, proxy: Proxy, far: lockstream.Client, name: str
) -> None:
    """N4."""
    awaited = f"{name}/awaited"
    async with client.session() as other, far.session() as session:
        blocking = await other.acquire(awaited)
        held = [await session.acquire(f"{name}/{number}") for number in range(3)]
        shared = await session.acquire(f"{name}/shared", shared=True)
        acquiring = await queue_up(session, awaited)
        before = (await client.get_session(session.id)).claims
        await proxy.cut()
        await resumed(session, 2)
        assert (await client.get_session(session.id)).claims == before
        assert all(lock.held and not lock.lost.is_set() for lock in [*held, shared])
        assert [await client.check_token(lock.name, lock.token) for lock in held] == [True] * 3
        await blocking.release()
        assert (await acquiring).held
        await held[0].release()
        assert (await client.get_lock(held[0].name, linearizable=True)).entries == ()


async def test_a_grant_that_came_while_the_connection_was_broken_is_found_on_return(
    client: lockstream.Client, proxy: Proxy, far: lockstream.Client, name: str
) -> None:
    """N4."""
    async with client.session() as other, far.session() as session:
        blocking = await other.acquire(name)
        acquiring = await queue_up(session, name)
        await proxy.cut(refuse=True)
        await eventually(lambda: not session.attached, "the client noticed")
        await blocking.release()
        proxy.heal()
        assert (await acquiring).held


async def test_a_client_that_is_cut_off_for_longer_than_the_ttl_loses_every_lock(
    client: lockstream.Client, proxy: Proxy, far: lockstream.Client, name: str
) -> None:
    """N5. By its own clock: nobody can tell it."""
    ttl = 2
    async with client.session() as other, far.session(ttl=ttl) as session:
        await other.acquire(f"{name}/awaited")
        locks = [await session.acquire(f"{name}/{number}") for number in range(3)]
        acquiring = await queue_up(session, f"{name}/awaited")
        cut = Stopwatch()
        await proxy.cut(refuse=True)
        reasons = await asyncio.gather(*(lock.lost for lock in locks))
        assert cut.seconds <= ttl + 0.1
        assert reasons == [lockstream.LossReason.UNPROVEN] * 3
        with pytest.raises(lockstream.SessionExpired):
            await acquiring
        proxy.heal()
        with pytest.raises(lockstream.SessionExpired):
            await session.acquire(name)
        assert isinstance(session.ended, lockstream.SessionExpired)


async def test_a_client_that_comes_back_to_an_ended_session_is_told_that_every_lock_is_lost(
    client: lockstream.Client, proxy: Proxy, far: lockstream.Client, etcd: EtcdProcess, name: str
) -> None:
    """N5. The server tells it: the lease ended before its time while the client was away."""
    async with client.session() as other, far.session(ttl=60) as session:
        await other.acquire(f"{name}/awaited")
        locks = [await session.acquire(f"{name}/{number}") for number in range(3)]
        acquiring = await queue_up(session, f"{name}/awaited")
        await proxy.cut(refuse=True)
        await eventually(lambda: not session.attached, "the client noticed")
        etcd.etcdctl("lease", "revoke", session.id)
        proxy.heal()
        reasons = await asyncio.gather(*(lock.lost for lock in locks))
        assert reasons == [lockstream.LossReason.LEASE_EXPIRED] * 3
        with pytest.raises(lockstream.SessionExpired):
            await acquiring


async def test_a_client_that_chose_no_grace_loses_every_lock_with_its_stream(
    proxy: Proxy, far: lockstream.Client, name: str
) -> None:
    """N5. By its own clock, as soon as it sees the stream break: the server frees the locks then."""
    async with far.session(ttl=20, grace=0) as session:
        locks = [await session.acquire(f"{name}/{number}") for number in range(3)]
        cut = Stopwatch()
        await proxy.cut()
        reasons = await asyncio.gather(*(lock.lost for lock in locks))
        assert cut.seconds < SLACK_SECONDS
        assert reasons == [lockstream.LossReason.UNPROVEN] * 3


async def test_resuming_a_session_whose_ttl_passed_is_session_expired(
    server: ServerProcess, etcd: EtcdProcess, name: str
) -> None:
    """N5."""
    async with Wire(server.target) as wire:
        attached = await wire.open(ttl=2)
        await wire.ask(acquire(1, name))

    def expired() -> bool:
        return "already expired" in etcd.etcdctl("lease", "timetolive", attached.session_id)

    await eventually(expired, "the lease has ended")
    async with Wire(server.target) as wire:
        reply = await wire.ask(resume(attached))
        assert reason(reply.error) == "SESSION_EXPIRED"


async def test_a_wrong_resume_token_is_refused_and_leaves_the_session_untouched(
    server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """N6."""
    async with Wire(server.target) as wire, Wire(server.target) as thief:
        attached = await wire.open()
        granted = (await wire.ask(acquire(1, name))).granted
        for token in ("", "wrong", attached.resume_token[:-1], attached.resume_token + "x"):
            stolen = session_pb2.Resume(session_id=attached.session_id, resume_token=token)
            reply = await thief.ask(stolen)
            assert reason(reply.error) == "BAD_RESUME_TOKEN"
        assert (await wire.ask(session_pb2.Heartbeat())).HasField("proof")
        assert (await client.get_session(attached.session_id)).generation == 1
        assert (await wire.ask(release(granted))).HasField("released")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same server", "another server"])
async def test_of_two_who_resume_a_session_the_later_wins_and_the_earlier_is_told(
    two_servers: list[ServerProcess], name: str, elsewhere: bool
) -> None:
    """N6."""
    server, other = two_servers[0], two_servers[1 if elsewhere else 0]
    async with Wire(server.target) as earlier, Wire(other.target) as later:
        attached = await earlier.open()
        granted = (await earlier.ask(acquire(1, name))).granted
        taken_over = (await later.ask(resume(attached))).attached
        assert taken_over.generation == 2
        assert [(claim.acquire_id, claim.token) for claim in taken_over.claims] == [(1, granted.token)]
        lost = (await earlier.event()).lost
        assert (lost.token, lost.reason) == (granted.token, lockstream.LossReason.SUPERSEDED.value)
        assert reason((await earlier.event()).session_ended.error) == "SUPERSEDED"
        with pytest.raises(EOFError, match="OK"):
            await earlier.event()
        assert (await later.ask(release(granted))).HasField("released")


async def test_a_closed_session_cannot_be_resumed(server: ServerProcess) -> None:
    """N7."""
    async with Wire(server.target) as wire, Wire(server.target) as again:
        attached = await wire.open()
        first, second, late = await wire.send(session_pb2.Close(), session_pb2.Close(), acquire(1, "any"))
        assert reason((await wire.reply(second)).error) == "WRONG_STATE"
        assert reason((await wire.reply(late)).error) == "WRONG_STATE"
        assert (await wire.reply(first)).HasField("closed")
        with pytest.raises(EOFError, match="OK"):
            await wire.event()
        assert reason((await again.ask(resume(attached))).error) == "SESSION_EXPIRED"


async def test_requests_repeated_after_a_reconnect_double_nothing(
    server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """N9."""
    held = f"{name}/held"
    async with client.session() as holder:
        blocking = await holder.acquire(name)
        async with Wire(server.target) as before:
            attached = await before.open()
            granted = (await before.ask(acquire(1, held))).granted
            assert (await before.ask(acquire(2, name))).queued.position == 1
        async with Wire(server.target) as wire:
            await wire.ask(resume(attached))
            queue = await queue_of(client, name)
            assert (await wire.ask(acquire(1, held))).granted == granted
            assert (await wire.ask(acquire(2, name))).queued.position == 1
            assert await queue_of(client, name) == queue
            assert len(await queue_of(client, held)) == 1
            await blocking.release()
            later = (await wire.event()).granted
            assert (await wire.ask(acquire(2, name))).granted == later
            assert (await wire.ask(release(granted))).HasField("released")
            assert await queue_of(client, held) == []


@pytest.mark.parametrize(("asked", "granted"), [(0.001, 2), (0.5, 2), (2.1, 3), (7, 7)])
async def test_a_ttl_below_the_minimum_is_raised_and_the_granted_one_returned(
    client: lockstream.Client, asked: float, granted: float
) -> None:
    """N12."""
    async with client.session(ttl=asked) as session:
        assert session.ttl == granted
        assert (await client.get_session(session.id)).ttl == granted


@pytest.mark.parametrize("ttl", [0, -1, -(2**40), 601, 2**62])
async def test_a_ttl_that_cannot_be_is_an_invalid_argument(server: ServerProcess, ttl: int) -> None:
    """N12. The stream goes on: the next open succeeds."""
    async with Wire(server.target) as wire:
        opening = session_pb2.Open()
        opening.ttl.seconds = ttl
        opening.ttl.SetInParent()
        reply = await wire.ask(opening)
        assert reason(reply.error) == "INVALID_ARGUMENT"
        assert reply.error.message.startswith("ttl:")
        assert (await wire.open()).session_id


def resume(attached: session_pb2.Attached) -> session_pb2.Resume:
    """The request that takes up a session that `attached` began."""
    return session_pb2.Resume(session_id=attached.session_id, resume_token=attached.resume_token)
