"""A client process that gets somewhere, prints `ready`, and then does nothing until it is ended.

`python -m tests.benchmarks.bystanders hold SYSTEM TARGET NAME` holds the lock `NAME`;
`python -m tests.benchmarks.bystanders idle SYSTEM TARGET COUNT` has so many workers that idle.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from tests.benchmarks.drivers import connect
from tests.support.processes import ChildProcess


def bystander(role: str, system: str, target: str, argument: str, *, folder: Path) -> ChildProcess:
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
    """Do as the module says."""
    async with connect(system, target) as driver:
        if role == "hold":
            (worker,) = await driver.open_workers(1)
            await worker.acquire(argument)
        else:
            await driver.open_workers(int(argument))
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(stand_by(*sys.argv[1:]))
