"""Clients that wear a server out: one that does not read, and a thousand that vanish at once."""

import asyncio
import json
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc

from lockstream.v1 import lock_pb2, session_pb2
from tests.robustness.faults.fault import ImpossibleError, Scene
from tests.robustness.traffic.crowd import REFUSED_CODE, STEP
from tests.support.deaf import Deaf, reason
from tests.support.processes import ChildProcess, ProcessEndedError
from tests.support.waiting import eventually
from tests.support.wire import Wire, acquire

OUTBOX_EVENTS = 64
"""Which servers are run with, so that an outbox can be filled."""
EVENTS = 3 * OUTBOX_EVENTS
"""That a client which does not read is sent."""
TTL = 10
"""Of its session, in seconds."""
OVERFLOW_SECONDS = 15.0
"""In which an outbox overflows, unless other faults are in the way."""
CROWD = 1_000
"""Sessions that end at once."""
CROWD_SECONDS = 20.0
"""In which they come together, unless other faults are in the way."""


@asynccontextmanager
async def outbox_overflowed(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """A client waits for many locks, reads nothing any more, and is granted all of them at once.

    Its server cuts it off as SLOW_CONSUMER, or the fault counts as impossible. In the end it comes back and holds all.
    """
    server = rng.choice(scene.cluster.servers)
    names = [f"deaf/{rng.getrandbits(40):x}/{number}" for number in range(EVENTS)]
    try:
        async with asyncio.timeout(OVERFLOW_SECONDS):
            attached, ended_by = await _overflow(server.target, names)
    except (grpc.aio.AioRpcError, EOFError, AssertionError, TimeoutError, asyncio.InvalidStateError) as error:
        raise ImpossibleError(f"something else is wrong at {server.name}: {error!r}") from None
    if ended_by != "SLOW_CONSUMER":
        raise ImpossibleError(f"{server.name} ended the stream with {ended_by or 'no reason'}")
    yield server.name
    await _come_back([server.target for server in scene.cluster.servers], attached)


async def _overflow(target: str, names: Sequence[str]) -> tuple[session_pb2.Attached, str]:
    """The session of a client that was granted all names without reading of it, and what ended its stream."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with Wire(target) as holder, grpc.aio.insecure_channel(target, options=options) as channel:
        await holder.open(ttl=TTL)
        for asked in await holder.send(*(acquire(number, name) for number, name in enumerate(names, 1))):
            await holder.reply(asked)
        deaf = Deaf(channel)
        await deaf.ask(names, ttl=TTL)
        await deaf.stuff()
        await holder.ask(session_pb2.Close())
        return deaf.attached, reason(await deaf.end())


async def _come_back(targets: Sequence[str], attached: session_pb2.Attached) -> None:
    """Resume at whatever server can be reached, see that nothing was lost, and leave; or else the session runs out."""
    resume = session_pb2.Resume(session_id=attached.session_id, resume_token=attached.resume_token)
    for target in targets:
        with suppress(grpc.aio.AioRpcError, EOFError, TimeoutError, asyncio.InvalidStateError):
            async with asyncio.timeout(TTL / 2), Wire(target) as wire:
                reply = await wire.ask(resume)
                if reply.HasField("attached"):
                    held = [claim for claim in reply.attached.claims if claim.state == lock_pb2.ENTRY_STATE_HELD]
                    if len(held) != EVENTS:
                        raise AssertionError(f"{attached.session_id} came back with {len(held)} holds of {EVENTS}")
                    await wire.ask(session_pb2.Close())
                    return


@asynccontextmanager
async def crowd_gone(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """A process with a thousand sessions, each with a lock, is killed. They end at once: their grace is nothing.

    Where other faults slow their coming down there may be fewer.
    """
    server = rng.choice(scene.cluster.servers)
    options = {"target": server.target, "sessions": CROWD, "ttl": TTL, "name": f"crowd/{rng.getrandbits(40):x}"}
    with tempfile.TemporaryDirectory(prefix="lockstream-crowd-") as directory:
        log, output = Path(directory, "log"), Path(directory, "output")
        command = [sys.executable, "-m", "tests.robustness.traffic", "crowd", json.dumps(options)]
        crowd = ChildProcess(command, log=log, output=output)
        crowd.start()

        def there() -> int:
            return STEP * len(crowd.output_lines())

        try:
            with suppress(TimeoutError):
                await eventually(
                    lambda: there() == CROWD or not crowd.running, "the crowd is there", timeout=CROWD_SECONDS
                )
        finally:
            await asyncio.to_thread(crowd.kill)
        if crowd.returncode not in {-signal.SIGKILL, REFUSED_CODE}:
            raise ProcessEndedError(f"the crowd ended with {crowd.returncode}\n{crowd.log_text()}")
        number = there()
        if not number:
            raise ImpossibleError(f"something else is wrong at {server.name}: {crowd.log_text()[-1_000:]}")
    yield f"{number} sessions at {server.name}"
