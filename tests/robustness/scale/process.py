"""The process of a crowd: many sessions over a few connections, and perhaps one that looks on."""

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc

from lockstream.v1 import service_pb2_grpc
from tests.robustness.scale.member import Member
from tests.robustness.scale.tally import Tally
from tests.support.wire import Wire, acquire, release

TALLY_SECONDS = 0.2
"""How often a tally is written, and heartbeats are sent."""
BYSTANDER_SECONDS = 0.05
"""Between two acquires of the bystander."""
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 500),
)
"""As the client library has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a process is told."""

    name: str
    """Its sessions hold the locks `<name>/0`, `<name>/1`..."""
    servers: Sequence[str]
    """`host:port` of each; the first is where the sessions open."""
    sessions: int
    connections: int
    """To each server, shared by the sessions."""
    ttl: int
    """Of the sessions, in seconds."""
    bystander: str = ""
    """`host:port` of the server at which one more session takes and frees a lock again and again; empty for none."""


async def run(plan: Plan) -> None:
    """Open all sessions at once, and say on standard output how they are, until killed."""
    tally = Tally()
    async with AsyncExitStack() as stack:
        stubs = []
        for _ in range(plan.connections):
            channels = [grpc.aio.insecure_channel(server, options=CHANNEL_OPTIONS) for server in plan.servers]
            for channel in channels:
                await stack.enter_async_context(channel)
            stubs.append([service_pb2_grpc.LockServiceStub(channel) for channel in channels])
        members = [
            Member(f"{plan.name}/{number}", stubs[number % plan.connections], plan.ttl, tally)
            for number in range(plan.sessions)
        ]
        parts = [_tell(tally), _beat(members, plan.ttl), *(member.run() for member in members)]
        if plan.bystander:
            parts.append(_stand_by(plan.bystander, f"{plan.name}/bystander", tally))
        await asyncio.gather(*parts)


async def _tell(tally: Tally) -> None:
    while True:
        await asyncio.sleep(TALLY_SECONDS)
        sys.stdout.write(f"{tally.take()}\n")
        sys.stdout.flush()


async def _beat(members: Sequence[Member], ttl: int) -> None:
    """A heartbeat of every session once per two TTLs: a sample of all of them at any time."""
    in_turn = itertools.cycle(members)
    while True:
        for member in itertools.islice(in_turn, round(len(members) * TALLY_SECONDS / (2 * ttl))):
            await member.beat()
        await asyncio.sleep(TALLY_SECONDS)


async def _stand_by(server: str, name: str, tally: Tally) -> None:
    async with Wire(server) as wire:
        await wire.open()
        for number in itertools.count(1):
            asked_at = time.monotonic()
            granted = await wire.hold(acquire(number, name))
            tally.waits.append(time.monotonic() - asked_at)
            await wire.ask(release(granted))
            await asyncio.sleep(BYSTANDER_SECONDS)
