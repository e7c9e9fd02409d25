"""A program that holds one lock until it ends, for tests that kill or stop the process of a client.

`python -m tests.support.holder TARGET NAME --ttl 2 --grace 0` says on standard output, as JSON lines:

    {"event": "held", "token": "7"}           once the lock is held
    {"event": "lost", "reason": "UNPROVEN"}   if it is lost; the program then ends

With `--block SECONDS` its event loop does nothing for that long after the lock was granted.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import lockstream
from tests.support.processes import ChildProcess
from tests.support.waiting import eventually

START_TIMEOUT_SECONDS = 15.0


class Holder:
    """The program as a child process. `directory` gets its output and its log."""

    def __init__(
        self,
        target: str,
        name: str,
        directory: Path,
        *,
        ttl: float,
        grace: float,
        block: float = 0,
        shared: bool = False,
    ) -> None:
        options = [f"--ttl={ttl}", f"--grace={grace}", f"--block={block}", *(["--shared"] if shared else [])]
        self.process = ChildProcess(
            [sys.executable, "-m", "tests.support.holder", target, name, *options],
            log=directory / "holder.log",
            output=directory / "holder.jsonl",
        )

    async def holds(self) -> None:
        """Wait until it holds the lock."""
        await eventually(lambda: self.said("held") != {}, "the lock is held", timeout=START_TIMEOUT_SECONDS)

    def said(self, event: str) -> dict[str, str]:
        """The line it wrote of this event; empty so far."""
        lines = [json.loads(line) for line in self.process.output_lines()]
        return next((line for line in lines if line["event"] == event), {})


async def _hold(target: str, name: str, *, ttl: float, grace: float, block: float, shared: bool) -> None:
    async with lockstream.connect(target, ttl=ttl, grace=grace) as client, client.session() as session:
        lock = await session.acquire(name, shared=shared)
        _say("held", token=str(lock.token))
        time.sleep(block)  # noqa: ASYNC251 - a hanging event loop is what is asked for
        reason = await lock.lost
        _say("lost", reason=reason.name if reason is not None else "")


def _say(event: str, **facts: str) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("name")
    parser.add_argument("--ttl", type=float, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--block", type=float, default=0)
    parser.add_argument("--shared", action="store_true")
    asyncio.run(_hold(**vars(parser.parse_args())))


if __name__ == "__main__":
    _main()
