"""What nobody should send: a clear error each time, other sessions untouched, nothing in the log but that."""

import random
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

import lockstream
from lockstream.v1 import lock_pb2, session_pb2
from tests.support.server import ServerProcess
from tests.support.wire import Wire, acquire, reason

SERVICE = "/lockstream.v1.LockService"
MAX_MESSAGE_BYTES = 1_048_576
"""The server's default."""
MAX_FRAME_REQUESTS = 1024


@pytest.fixture(autouse=True)
async def bystander(server: ServerProcess, client: lockstream.Client, name: str) -> AsyncIterator[None]:
    """Another session at the same server: it keeps its lock and its stream, whatever the test sends."""
    async with client.session() as session:
        lock = await session.acquire(f"{name}/bystander")
        yield
        assert session.generation == 1
        assert lock.held
        assert await client.check_token(lock.name, lock.token)
        async with session.lock(f"{name}/another"):
            pass
    server.assert_no_traceback()
    assert "unexpectedly" not in server.log_text()


async def end_of(server: ServerProcess, *messages: bytes) -> grpc.StatusCode:
    """Send messages as they are on one stream, read whatever comes, and tell how the server ends it."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(f"{SERVICE}/Session")()
        try:
            for message in messages:
                await call.write(message)
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error.code()
        return await call.code()


def violation(error: status_pb2.Status) -> str:
    """The field that an INVALID_ARGUMENT names."""
    request = error_details_pb2.BadRequest()
    fields = [v.field for d in error.details if d.Unpack(request) for v in request.field_violations]
    assert error.message.startswith(f"{fields[0]}: ")
    [field] = fields
    return field


async def test_random_bytes_as_messages_end_their_own_stream_only(server: ServerProcess) -> None:
    """V6. Bytes that happen to be a message are answered as one."""
    generator = random.Random(6)
    codes = set()
    for _ in range(60):
        codes.add(await end_of(server, generator.randbytes(generator.randrange(1, 200))))
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK}
    assert grpc.StatusCode.INVALID_ARGUMENT in codes


async def test_a_good_message_with_a_few_bits_turned_ends_its_own_stream_only(server: ServerProcess) -> None:
    """V6. These get further than random bytes do."""
    generator = random.Random(7)
    good = session_pb2.SessionRequest(
        requests=[
            session_pb2.Request(request_id=1, open=session_pb2.Open(client_name="garbage", metadata={"a": "b"})),
            session_pb2.Request(request_id=2, acquire=acquire(1, "garbage/lock")),
            session_pb2.Request(request_id=3, close=session_pb2.Close()),
        ]
    ).SerializeToString()
    for _ in range(120):
        damaged = bytearray(good)
        for _ in range(generator.randrange(1, 4)):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        code = await end_of(server, bytes(damaged))
        assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK}


@pytest.mark.parametrize("method", ["GetLock", "ListLocks", "CheckToken", "GetSession", "ListSessions"])
async def test_random_bytes_as_the_message_of_a_read_are_an_invalid_argument(
    server: ServerProcess, method: str
) -> None:
    """V6."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        read: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/lockstream.v1.LockService/{method}"
        )
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await read(b"\xff garbage")
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_empty_frame_and_an_empty_stream_are_no_trouble(server: ServerProcess) -> None:
    """V6."""
    assert await end_of(server) is grpc.StatusCode.OK
    assert await end_of(server, b"", b"") is grpc.StatusCode.OK


async def test_a_message_beyond_the_bound_ends_its_stream_with_resource_exhausted(server: ServerProcess) -> None:
    """V6."""
    assert await end_of(server, bytes(MAX_MESSAGE_BYTES + 1)) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_frame_of_too_many_requests_ends_its_stream_with_invalid_argument(server: ServerProcess) -> None:
    """V6. As many as are allowed are answered."""
    beats = [session_pb2.Request(heartbeat=session_pb2.Heartbeat())] * MAX_FRAME_REQUESTS
    allowed = session_pb2.SessionRequest(requests=beats)
    assert await end_of(server, allowed.SerializeToString()) is grpc.StatusCode.OK
    allowed.requests.add()
    assert await end_of(server, allowed.SerializeToString()) is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_unset_action_is_refused_and_the_next_request_is_served(server: ServerProcess) -> None:
    """V6. Before and after open."""
    async with Wire(server.target) as wire:
        empty = session_pb2.Request(request_id=2**64 - 1)
        for _ in ("before open", "after it"):
            await wire.call.write(session_pb2.SessionRequest(requests=[empty]))
            error = (await wire.reply(empty.request_id)).error
            assert reason(error) == "INVALID_ARGUMENT"
            assert violation(error) == "action"
            await wire.open()


@pytest.mark.parametrize(
    "early",
    [
        acquire(1, "early"),
        session_pb2.Release(acquire_id=1, token=1),
        session_pb2.Cancel(acquire_id=1),
        session_pb2.Heartbeat(),
        session_pb2.Close(),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_whatever_comes_before_open_is_refused_and_the_open_is_served(
    server: ServerProcess, early: session_pb2.Acquire
) -> None:
    """V6."""
    async with Wire(server.target) as wire:
        assert reason((await wire.ask(early)).error) == "WRONG_STATE"
        assert (await wire.open()).session_id


async def test_a_second_open_or_resume_on_a_stream_is_refused(server: ServerProcess, name: str) -> None:
    """V6."""
    async with Wire(server.target) as wire:
        attached = await wire.open()
        again = session_pb2.Resume(session_id=attached.session_id, resume_token=attached.resume_token)
        assert reason((await wire.ask(session_pb2.Open())).error) == "WRONG_STATE"
        assert reason((await wire.ask(again)).error) == "WRONG_STATE"
        assert (await wire.ask(acquire(1, name))).HasField("granted")


WRONG_ACQUIRES = {
    "no name": ("name", session_pb2.Acquire(acquire_id=1)),
    "a name of 513 bytes": ("name", session_pb2.Acquire(acquire_id=1, name="n" * 513)),
    "a name of 514 bytes in 257 letters": ("name", session_pb2.Acquire(acquire_id=1, name="ü" * 257)),
    "a huge name": ("name", session_pb2.Acquire(acquire_id=1, name="n" * 1_000_000)),
    "a long owner": ("owner", session_pb2.Acquire(acquire_id=1, name="n", owner="o" * 257)),
    "no id": ("acquire_id", session_pb2.Acquire(name="n")),
    "an id that etcd cannot count": ("acquire_id", session_pb2.Acquire(acquire_id=2**63, name="n")),
    "the largest id": ("acquire_id", session_pb2.Acquire(acquire_id=2**64 - 1, name="n")),
    "an unknown mode": ("mode", session_pb2.Acquire(acquire_id=1, name="n", mode=99)),  # type: ignore[arg-type]
    "no time": ("timeout", session_pb2.Acquire(acquire_id=1, name="n", timeout=Duration())),
    "negative time": ("timeout", session_pb2.Acquire(acquire_id=1, name="n", timeout=Duration(seconds=-1))),
    "time beyond reason": ("timeout", session_pb2.Acquire(acquire_id=1, name="n", timeout=Duration(seconds=2**62))),
    "malformed time": ("timeout", session_pb2.Acquire(acquire_id=1, name="n", timeout=Duration(nanos=2**31 - 1))),
}


@pytest.mark.parametrize("case", WRONG_ACQUIRES)
async def test_an_acquire_with_a_field_out_of_range_is_refused_by_the_name_of_the_field(
    server: ServerProcess, client: lockstream.Client, name: str, case: str
) -> None:
    """V6. Nothing is queued, and the same acquire without the mistake is served."""
    field, wrong = WRONG_ACQUIRES[case]
    async with Wire(server.target) as wire:
        attached = await wire.open()
        error = (await wire.ask(wrong)).error
        assert reason(error) == "INVALID_ARGUMENT"
        assert violation(error) == field
        assert (await client.get_session(attached.session_id)).claims == ()
        assert (await wire.ask(acquire(1, name))).HasField("granted")


WRONG_GREETINGS: dict[str, tuple[str, session_pb2.Open | session_pb2.Resume]] = {
    "a long client name": ("client_name", session_pb2.Open(client_name="c" * 257)),
    "many labels": ("metadata", session_pb2.Open(metadata={str(number): "" for number in range(33)})),
    "long labels": ("metadata", session_pb2.Open(metadata={"key": "v" * 4096})),
    "no session": ("session_id", session_pb2.Resume()),
    "a session that is no number": ("session_id", session_pb2.Resume(session_id="0" * 15 + "g")),
    "a huge session": ("session_id", session_pb2.Resume(session_id="f" * 1_000_000)),
    "a long token": ("resume_token", session_pb2.Resume(session_id="0" * 15 + "1", resume_token="t" * 257)),
}


@pytest.mark.parametrize("case", WRONG_GREETINGS)
async def test_a_greeting_with_a_field_out_of_range_is_refused_by_the_name_of_the_field(
    server: ServerProcess, case: str
) -> None:
    """V6."""
    field, wrong = WRONG_GREETINGS[case]
    async with Wire(server.target) as wire:
        error = (await wire.ask(wrong)).error
        assert reason(error) == "INVALID_ARGUMENT"
        assert violation(error) == field
        assert (await wire.open()).session_id


async def test_giving_up_what_was_never_acquired_is_answered(server: ServerProcess) -> None:
    """V6."""
    async with Wire(server.target) as wire:
        await wire.open()
        assert reason((await wire.ask(session_pb2.Release(acquire_id=5, token=5))).error) == "NOT_HELD"
        assert reason((await wire.ask(session_pb2.Release(acquire_id=5))).error) == "INVALID_ARGUMENT"
        assert (await wire.ask(session_pb2.Cancel(acquire_id=5))).cancelled.was_granted is False


async def test_an_acquire_id_used_for_something_else_is_refused(server: ServerProcess, name: str) -> None:
    """V6."""
    async with Wire(server.target) as wire:
        await wire.open()
        granted = (await wire.ask(acquire(1, name))).granted
        for other in (acquire(1, f"{name}/other"), acquire(1, name, mode=lock_pb2.MODE_SHARED)):
            assert reason((await wire.ask(other)).error) == "ACQUIRE_ID_REUSED"
        assert (await wire.ask(acquire(1, name))).granted == granted
