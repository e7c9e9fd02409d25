"""The command that `lockstream run` runs: the terminal that it is given, and signals that it cannot be sent."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import lockstream
from lockstream.cli import holding
from lockstream.cli.command import Command
from tests.support.cli import PATIENCE, PROGRAM
from tests.support.server import ServerProcess
from tests.support.waiting import eventually

TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the terminal that controls this process, which leads a session, and becomes another program."""


class Terminal(NamedTuple):
    """A terminal without a person."""

    keyboard: int
    line: int
    """What programs have as their standard input."""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(*pty.openpty())
    yield terminal
    for file in terminal:
        os.close(file)


def run(terminal: Terminal, environment: dict[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program as the leader of a session of its own, with the terminal as its standard input."""
    return subprocess.run(
        command,
        env=environment,
        stdin=terminal.line,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
        start_new_session=True,
    )


def test_a_command_reads_from_the_terminal(terminal: Terminal, environment: dict[str, str], name: str) -> None:
    """It is in the foreground, or it would be stopped for reading; afterwards `run` is again."""
    os.write(terminal.keyboard, b"one\ntwo\n")
    script = f'{PROGRAM} run {name} -- sh -c "read -r line; echo command \\$line"; read -r line; echo afterwards $line'
    done = run(terminal, environment, sys.executable, "-c", TAKE_TERMINAL, "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == ("command one\nafterwards two\n", "", 0)


def test_a_terminal_of_another_session_is_left_alone(
    terminal: Terminal, environment: dict[str, str], name: str
) -> None:
    done = run(terminal, environment, PROGRAM, "run", name, "--", "echo", "ran")
    assert (done.stdout, done.stderr, done.returncode) == ("ran\n", "", 0)


@pytest.fixture
def another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals to commands are refused, as the kernel does it when `sudo` has made them another user's."""

    def refuse(_group: int, _number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", refuse)


@pytest.mark.usefixtures("another_user")
async def test_a_command_of_another_user_goes_on_and_the_loss_is_told(
    server: ServerProcess,
    client: lockstream.Client,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[Command] = []
    start = Command.start

    async def remembered(command: Sequence[str], variables: Mapping[str, str]) -> Command:
        commands.append(await start(command, variables))
        return commands[-1]

    monkeypatch.setattr(Command, "start", remembered)
    started = tmp_path / "started"
    claim = holding.Claim(name=name, servers=server.target)
    command = ["sh", "-c", f"echo $$ >{started}.new; mv {started}.new {started}; exec sleep 60"]
    running = asyncio.create_task(holding.run(claim, command, kill_after=60))
    await eventually(started.exists, "the command runs")
    pid = int(started.read_text())
    try:
        await client.admin.force_release(name, any=True, reason="stuck", actor="op")
        with pytest.raises(lockstream.LockLost):
            await asyncio.wait_for(running, PATIENCE)
        os.kill(pid, 0)
    finally:
        os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*(command.ended for command in commands))
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "lockstream: the command goes on without the lock: it runs as another user, and cannot be stopped"


@pytest.mark.usefixtures("another_user")
async def test_a_signal_that_cannot_be_passed_on_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    command = await Command.start(["true"], {})
    command.send(signal.SIGTERM)
    await command.ended
    assert command.exit_code == 0
    assert capsys.readouterr().err == "lockstream: SIGTERM cannot be sent to the command: it runs as another user\n"
