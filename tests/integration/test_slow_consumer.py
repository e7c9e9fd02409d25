"""A client that stops reading: it is cut off with a bound and a reason, and harms nobody, itself included."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import lockstream
from lockstream.v1 import lock_pb2, service_pb2_grpc, session_pb2
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiters import Stopwatch
from tests.support.waiting import eventually
from tests.support.wire import Wire

OUTBOX_EVENTS = 16
TTL = 2
HELD = 100
STALLED_SECONDS = 0.5
"""A frame that could not be written for this long is one that the server does not read."""


@pytest.fixture
def small_server(etcd: EtcdProcess, start_server: StartServer) -> ServerProcess:
    """A server that keeps few events for a client which does not read."""
    return start_server(etcd.endpoint, extra_args=[f"--outbox-events={OUTBOX_EVENTS}"])


class Deaf:
    """A stream whose client writes and does not read, once its locks were granted."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub: service_pb2_grpc.LockServiceAsyncStub = service_pb2_grpc.LockServiceStub(channel)
        self._call = stub.Session()
        self.attached = session_pb2.Attached()
        self._writing: asyncio.Task[None] | None = None

    async def hold(self, prefix: str) -> None:
        """Open a session and hold locks, reading for the last time."""
        opening = session_pb2.Request(open=session_pb2.Open())
        opening.open.ttl.FromSeconds(TTL)
        acquires = [
            session_pb2.Request(acquire=session_pb2.Acquire(acquire_id=number, name=f"{prefix}/{number}"))
            for number in range(1, HELD + 1)
        ]
        await self._call.write(session_pb2.SessionRequest(requests=[opening, *acquires]))
        granted = 0
        while granted < HELD:
            frame = await self._call.read()
            assert isinstance(frame, session_pb2.SessionResponse)
            for response in frame.responses:
                if response.reply.HasField("attached"):
                    self.attached = response.reply.attached
                granted += response.reply.HasField("granted")

    async def stuff(self) -> None:
        """Cause replies, and read none, until the server takes no more requests either."""
        heartbeats = [session_pb2.Request(request_id=2**63, heartbeat=session_pb2.Heartbeat())] * 1000
        while True:
            writing = asyncio.ensure_future(self._call.write(session_pb2.SessionRequest(requests=heartbeats)))
            done, _ = await asyncio.wait((writing,), timeout=STALLED_SECONDS)
            if not done:
                self._writing = writing
                return
            await writing

    async def end(self) -> grpc.aio.AioRpcError:
        """Read whatever there is, and what ends the stream."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self._read_on()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        return raised.value

    async def _read_on(self) -> None:
        while isinstance(await self._call.read(), session_pb2.SessionResponse):
            pass


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
        await deaf.hold(f"{name}/deaf")
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


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason in the ErrorInfo of a call that failed."""
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    return info.reason
