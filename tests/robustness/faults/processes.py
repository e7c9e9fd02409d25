"""Processes that are killed, frozen, and restarted in order."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager

from tests.robustness.cluster.cluster import HEALTHY_SECONDS
from tests.robustness.faults.fault import Fault, Process, Scene
from tests.robustness.faults.roles import Role, a_client
from tests.support.waiting import eventually

Step = Callable[[Process], Coroutine[None, None, None]]
"""Something that is done to a process."""

STEP_SECONDS = (3_600.0, 8 * 3_600.0)
"""By how much a wall clock is wrong."""


def killed(role: Role) -> Fault:
    """SIGKILL to all who play this role at once, like a crash; they are started again in the end."""
    return _befalling(role, lambda victim: victim.kill(), lambda victim: victim.start())


def frozen(role: Role) -> Fault:
    """SIGSTOP to all who play this role: connections stay open, and nothing is answered until they wake up."""
    return _befalling(role, lambda victim: victim.freeze(), lambda victim: victim.thaw())


def _befalling(role: Role, harm: Step, heal: Step) -> Fault:
    @asynccontextmanager
    async def fault(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
        victims = await role(scene, rng)
        async with AsyncExitStack() as stack:
            for victim in victims:
                stack.push_async_callback(heal, victim)
            await asyncio.gather(*map(harm, victims))
            yield " ".join(victim.name for victim in victims)

    return fault


@asynccontextmanager
async def clock_stepped(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """The wall clock of a client jumps by hours, on or back, and in the end the other way; see `traffic.wall_clock`."""
    [client] = await a_client(scene, rng)
    seconds = rng.choice([-1, 1]) * rng.uniform(*STEP_SECONDS)
    client.step_clock(seconds)
    try:
        yield client.name
    finally:
        client.step_clock(-seconds)


@asynccontextmanager
async def servers_restarted(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    """The lock servers are drained, ended and started one after the other, each once the one before it serves."""
    order = rng.sample(scene.cluster.servers, len(scene.cluster.servers))
    for server in order:
        try:
            await server.terminate()
        finally:
            await server.start()
        await eventually(server.healthy, f"{server!r} serving again", timeout=HEALTHY_SECONDS)
    yield " ".join(server.name for server in order)
