"""A crowd of sessions in one process, each with a lock and nothing to do: light, to be killed all at once."""

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import grpc

from lockstream.v1 import service_pb2_grpc, session_pb2
from tests.robustness.traffic.sessions import Refused

if TYPE_CHECKING:
    from lockstream.v1.service_pb2_grpc import LockServiceAsyncStub

CONNECTIONS = 4
"""That they share: a stream costs little, a connection more."""
STEP = 100
"""Sessions from one word to the next."""
REFUSED_CODE = 71
"""With which the process ends when the server does not take all of them."""


async def run(target: str, sessions: int, ttl: int, name: str) -> None:
    """Open so many sessions at once, each holding a lock below `name`, and stay until killed.

    Every so often it says on standard output how many there are.
    """
    async with AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(target, options=options))
            for _ in range(CONNECTIONS)
        ]
        stubs: list[LockServiceAsyncStub] = [service_pb2_grpc.LockServiceStub(channel) for channel in channels]
        try:
            # Their results are the calls, and are kept: one that is forgotten is cancelled.
            held = [
                asyncio.ensure_future(_hold(stubs[number % CONNECTIONS], f"{name}/{number}", ttl))
                for number in range(sessions)
            ]
            for done, holding in enumerate(asyncio.as_completed(held), 1):
                await holding
                if done % STEP == 0:
                    sys.stdout.write(f"{done}\n")
                    sys.stdout.flush()
        except (Refused, grpc.aio.AioRpcError) as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(REFUSED_CODE)
        await asyncio.Event().wait()


async def _hold(stub: "LockServiceAsyncStub", name: str, ttl: int) -> object:
    """The stream of a session that holds this lock, and which is not kept once the stream has ended."""
    opening = session_pb2.Request(open=session_pb2.Open(client_name="crowd"))
    opening.open.ttl.FromSeconds(ttl)
    opening.open.detach_grace.FromSeconds(0)
    acquire = session_pb2.Request(acquire=session_pb2.Acquire(acquire_id=1, name=name))
    call = stub.Session()
    await call.write(session_pb2.SessionRequest(requests=[opening, acquire]))
    while isinstance(frame := await call.read(), session_pb2.SessionResponse):
        for response in frame.responses:
            if response.reply.HasField("granted"):
                return call
            if not response.reply.HasField("attached"):
                raise Refused(f"{name}: {response}", settled=False)
    raise Refused(f"{name}: the stream ended with {await call.code()}", settled=False)
