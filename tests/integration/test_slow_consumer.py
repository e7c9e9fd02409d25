"""A client that stops reading: it is cut off with a bound and a reason, and harms nobody, itself included."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

import lockstream
from lockstream.v1 import lock_pb2, session_pb2
from tests.integration.conftest import StartServer
from tests.support.deaf import Deaf, reason
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiters import Stopwatch
from tests.support.waiting import eventually
from tests.support.wire import Wire

OUTBOX_EVENTS = 16
TTL = 2
HELD = 100


@pytest.fixture
def small_server(etcd: EtcdProcess, start_server: StartServer) -> ServerProcess:
    """A server that keeps few events for a client which does not read."""
    return start_server(etcd.endpoint, extra_args=[f"--outbox-events={OUTBOX_EVENTS}"])


@pytest.fixture
async def deaf(small_server: ServerProcess) -> AsyncIterator[Deaf]:
    """A client that will not read; on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(small_server.target, options=options) as channel:
        yield Deaf(channel)


async def test_a_client_that_stops_reading_is_cut_off_with_slow_consumer_and_can_resume(
    small_server: ServerProcess, etcd: EtcdProcess, deaf: Deaf, name: str
) -> None:
    """N10."""
    async with lockstream.connect(small_server.target, ttl=TTL) as client, client.session() as neighbour:
        lock = await neighbour.acquire(name)
        await deaf.ask([f"{name}/deaf/{number}" for number in range(1, HELD + 1)], ttl=TTL)
        await deaf.stuff()
        stuffed = Stopwatch()

        async def outlived() -> bool:
            await client.get_session(deaf.attached.session_id)
            return stuffed.seconds > 1.25 * TTL

        await eventually(outlived, "its lease is renewed although it does not read")
        lost = OUTBOX_EVENTS + 1
        for number in range(1, lost + 1):
            escaped = f"{name}/deaf/{number}".replace("/", "%2F")
            await asyncio.to_thread(etcd.etcdctl, "del", "--prefix", f"/lockstream/l/{escaped}/")
        error = await deaf.end()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(error) == "SLOW_CONSUMER"
        assert lock.held
    async with Wire(small_server.target) as wire:
        resume = session_pb2.Resume(session_id=deaf.attached.session_id, resume_token=deaf.attached.resume_token)
        claims = (await wire.ask(resume)).attached.claims
        assert {claim.acquire_id for claim in claims} == set(range(lost + 1, HELD + 1))
        assert {claim.state for claim in claims} == {lock_pb2.ENTRY_STATE_HELD}


async def test_a_client_that_reads_gets_every_event_however_many_come(
    small_server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """N10, the other way round: the bound is on what is unread, not on what comes."""
    async with client.session() as holder, Wire(small_server.target) as wire:
        await wire.open()
        for acquire_id in range(1, 3 * OUTBOX_EVENTS):
            lock = await holder.acquire(name)
            asked = session_pb2.Acquire(acquire_id=acquire_id, name=name)
            assert (await wire.ask(asked)).HasField("queued")
            await lock.release()
            event = await wire.event()
            assert event.sequence == acquire_id
            token = event.granted.token
            await wire.ask(session_pb2.Release(acquire_id=acquire_id, token=token))
