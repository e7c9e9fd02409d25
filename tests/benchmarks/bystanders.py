"""A client process that gets somewhere, prints `ready`, and then does nothing until it is ended.

`python -m tests.benchmarks.bystanders ROLE SYSTEM TARGET ARGUMENT`, where the role is

`hold`   to hold the lock whose name is the argument;
`idle`   to have so many workers that idle, all on one connection;
`apart`  the same, each on a connection of its own.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import uvloop

from tests.benchmarks.drivers import connect
from tests.support.processes import ChildProcess

Role = Literal["hold", "idle", "apart"]


def bystander(role: Role, system: str, target: str, argument: str, *, folder: Path) -> ChildProcess:
    """A bystander, not started yet; its files go to `folder`, which is made."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.benchmarks.bystanders", role, system, target, argument]
    return ChildProcess(command, log=folder / "log", output=folder / "output")


def said_ready(process: ChildProcess) -> bool:
    """Whether a bystander is where it is wanted; raises RuntimeError if it ended instead."""
    if not process.running:
        raise RuntimeError(f"{process!r} ended early:\n{process.log_text()}")
    return process.output_lines() != []


async def stand_by(role: str, system: str, target: str, argument: str) -> None:
    """Do as the module says.

    Raises:
        ValueError: there is no such role or system.
    """
    async with AsyncExitStack() as stack:
        connections = int(argument) if role == "apart" else 1
        drivers = [await stack.enter_async_context(connect(system, target)) for _ in range(connections)]
        match role:
            case "hold":
                (worker,) = await drivers[0].open_workers(1)
                await worker.acquire(argument)
            case "idle":
                await drivers[0].open_workers(int(argument))
            case "apart":
                await asyncio.gather(*(driver.open_workers(1) for driver in drivers))
            case _:
                raise ValueError(f"unknown role {role}")
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(stand_by(*sys.argv[1:]))
