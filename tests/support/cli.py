"""The command `lockstream` as a child process, and waiting for what it does."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import lockstream.sync
from tests.support.processes import ChildProcess, wait_until

PROGRAM = str(Path(sys.executable).with_name("lockstream"))
PATIENCE = 10.0
"""Seconds within which anything happens, also on a busy machine."""

Cli = Callable[..., subprocess.CompletedProcess[str]]
"""What the fixture `cli` gives: called with the arguments, and with variables of the environment."""
Start = Callable[..., ChildProcess]
"""What the fixture `start` gives: called with the arguments."""


def until_says(process: ChildProcess, line: str) -> None:
    """Wait until the process has written this line."""
    process.wait_until(
        lambda: f"{line}\n" in process.output_lines(), timeout=PATIENCE, what=f"{process!r} says {line!r}"
    )


def until_entries(client: lockstream.sync.Client, name: str, *states: str) -> lockstream.LockView:
    """Wait until the lock's entries are in these states, holders first."""

    def reached() -> bool:
        return [entry.state.name.lower() for entry in client.get_lock(name).entries] == list(states)

    wait_until(reached, timeout=PATIENCE, what=f"{name!r}: {states}")
    return client.get_lock(name)


def shell(*lines: str) -> Sequence[str]:
    """A shell script as the command of `lockstream run`."""
    return ("--", "sh", "-c", "\n".join(lines))
