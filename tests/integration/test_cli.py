"""The command `lockstream`, as a shell runs it."""

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import lockstream.sync
from tests.support.cli import PATIENCE, PROGRAM, Cli, Start, shell, until_entries, until_says
from tests.support.etcd import EtcdProcess
from tests.support.processes import free_port, wait_until


def take_away(etcd: EtcdProcess, lock_key: str) -> None:
    """Delete the lock's entries in etcd, behind everybody's back."""
    etcd.etcdctl("del", "--prefix", f"{lock_key}/")


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Running a command.


def test_run_holds_the_lock_and_tells_the_command_its_name_and_token(cli: Cli, name: str) -> None:
    done = cli(
        "run",
        name,
        *shell('echo "$LOCKSTREAM_NAME"', 'echo "$LOCKSTREAM_TOKEN"', f'{PROGRAM} show --json "$LOCKSTREAM_NAME"'),
    )
    told_name, token, shown = done.stdout.splitlines()
    assert (done.returncode, told_name, done.stderr) == (0, name, "")
    assert [entry["token"] for entry in json.loads(shown)["entries"]] == [int(token)]


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)])
def test_run_passes_the_commands_exit_code_through(cli: Cli, name: str, script: str, code: int) -> None:
    assert cli("run", name, *shell(script)).returncode == code


def test_run_passes_standard_input_and_arguments_through(environment: dict[str, str], name: str) -> None:
    done = subprocess.run(
        [PROGRAM, "run", name, "--", "sh", "-c", 'cat; echo "$@"', "sh", "--wait", "--", "a b"],
        env=environment,
        input="in\n",
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "in\n--wait -- a b\n"


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/etc/hostname", 126)])
def test_run_says_when_there_is_no_such_command(cli: Cli, name: str, command: str, code: int) -> None:
    done = cli("run", name, "--", command)
    assert done.returncode == code
    assert command in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("wait", ["0", "200ms"])
def test_a_taken_lock_ends_run_with_its_own_code_and_leaves_nothing_queued(
    cli: Cli, looker: lockstream.sync.Client, name: str, wait: str
) -> None:
    with looker.lock(name) as held:
        done = cli("run", "--wait", wait, name, "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (124, "")
        assert [entry.token for entry in looker.get_lock(name, linearizable=True).entries] == [held.token]
    assert done.stderr.count("\n") == 1


def test_run_waits_for_its_turn(start: Start, looker: lockstream.sync.Client, name: str) -> None:
    with looker.lock(name):
        waiting = start("run", name, "--", "echo", "ran")
        until_entries(looker, name, "held", "waiting")
        assert waiting.output_lines() == []
    assert waiting.wait(PATIENCE) == 0
    assert waiting.output_lines() == ["ran\n"]


def test_shared_runs_run_together(start: Start, looker: lockstream.sync.Client, name: str) -> None:
    script = shell("echo in", "exec sleep 30")
    runs = [start("run", "--shared", name, *script) for _ in range(2)]
    for run in runs:
        until_says(run, "in")
    assert all(entry.shared for entry in until_entries(looker, name, "held", "held").entries)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_go_to_the_command(
    start: Start, looker: lockstream.sync.Client, name: str, number: signal.Signals
) -> None:
    short = number.name.removeprefix("SIG")
    run = start("run", name, *shell(f"trap 'echo {short}; exit 9' {short}", "echo in", "sleep 30 & wait"))
    until_says(run, "in")
    run.send_signal(number)
    assert run.wait(PATIENCE) == 9
    assert run.output_lines()[-1] == f"{short}\n"
    assert looker.get_lock(name, linearizable=True).entries == ()


def test_a_signal_ends_the_wait_for_the_lock(start: Start, looker: lockstream.sync.Client, name: str) -> None:
    with looker.lock(name):
        waiting = start("run", name, "--", "echo", "ran")
        until_entries(looker, name, "held", "waiting")
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(PATIENCE) == 128 + signal.SIGTERM
        assert len(looker.get_lock(name, linearizable=True).entries) == 1


def test_a_command_hears_of_the_loss_by_sigterm(start: Start, etcd: EtcdProcess, name: str, lock_key: str) -> None:
    run = start("run", name, *shell("trap 'echo cleaned up; exit 0' TERM", "echo in", "sleep 30 & wait"))
    until_says(run, "in")
    take_away(etcd, lock_key)
    assert run.wait(PATIENCE) == 123
    assert run.output_lines()[-1] == "cleaned up\n"
    assert "REMOVED_EXTERNALLY" in run.log_text()


def test_what_ignores_sigterm_is_killed_after_the_grace(
    start: Start, etcd: EtcdProcess, name: str, lock_key: str
) -> None:
    """The whole process group is: what the command started goes with it."""
    stubborn = ("trap '' TERM", "sleep 30 & echo $!", "echo in", "while :; do sleep 1; done")
    run = start("run", "--kill-after", "500ms", name, *shell(*stubborn))
    until_says(run, "in")
    descendant = int(run.output_lines()[0])
    taken = time.monotonic()
    take_away(etcd, lock_key)
    assert run.wait(PATIENCE) == 123
    assert time.monotonic() - taken >= 0.5
    wait_until(lambda: not alive(descendant), timeout=PATIENCE, what="the descendant is gone")


def test_descendants_that_outlive_the_command_are_killed_too(
    start: Start, etcd: EtcdProcess, name: str, lock_key: str
) -> None:
    run = start(
        *("run", "--kill-after", "200ms", name),
        *shell("(trap '' TERM; while :; do sleep 1; done) & echo $!", "echo in", "wait"),
    )
    until_says(run, "in")
    take_away(etcd, lock_key)
    assert run.wait(PATIENCE) == 123
    descendant = int(run.output_lines()[0])
    wait_until(lambda: not alive(descendant), timeout=PATIENCE, what="the descendant is gone")


def test_a_killed_run_takes_its_command_with_it(start: Start, name: str) -> None:
    run = start("run", name, *shell("echo $$", "echo in", "exec sleep 30"))
    until_says(run, "in")
    command = int(run.output_lines()[0])
    run.kill()
    wait_until(lambda: not alive(command), timeout=PATIENCE, what="the command is gone")


# Holding without a command.


@pytest.mark.parametrize("command", ["hold", "acquire"])
def test_hold_prints_the_token_and_releases_when_interrupted(
    start: Start, looker: lockstream.sync.Client, name: str, command: str
) -> None:
    hold = start(command, name)
    (entry,) = until_entries(looker, name, "held").entries
    until_says(hold, str(entry.token))
    hold.send_signal(signal.SIGINT)
    assert hold.wait(PATIENCE) == 0
    assert looker.get_lock(name, linearizable=True).entries == ()
    assert hold.log_text() == ""


def test_hold_ends_after_the_time_it_was_told(cli: Cli, looker: lockstream.sync.Client, name: str) -> None:
    done = cli("hold", "--for", "100ms", "--shared", "--json", name)
    said = json.loads(done.stdout)
    assert done.returncode == 0
    assert (said["name"], said["shared"], said["token"] > 0, len(said["session_id"])) == (name, True, True, 16)
    assert looker.get_lock(name, linearizable=True).entries == ()


def test_hold_ends_with_its_own_code_when_the_lock_is_lost(
    start: Start, etcd: EtcdProcess, looker: lockstream.sync.Client, name: str, lock_key: str
) -> None:
    hold = start("hold", name)
    until_says(hold, str(until_entries(looker, name, "held").entries[0].token))
    take_away(etcd, lock_key)
    assert hold.wait(PATIENCE) == 123
    assert "REMOVED_EXTERNALLY" in hold.log_text()


# Looking.


def test_ls_lists_by_prefix(cli: Cli, looker: lockstream.sync.Client, name: str) -> None:
    with looker.lock(f"{name}/a") as first, looker.lock(f"{name}/b", shared=True) as second:
        until_entries(looker, f"{name}/b", "held")
        found: list[dict[str, Any]] = json.loads(cli("ls", "--json", name).stdout)
        assert [(lock["name"], lock["entries"][0]["token"]) for lock in found] == [
            (first.name, first.token),
            (second.name, second.token),
        ]
        heading, *rows = cli("ls", f"{name}/b").stdout.splitlines()
        assert heading.split() == ["NAME", "MODE", "HOLDERS", "WAITERS", "TOKEN", "HELD", "FOR"]
        assert [row.split()[:-1] for row in rows] == [[second.name, "shared", "1", "0", str(second.token)]]


def test_show_tells_holder_queue_and_ages(cli: Cli, looker: lockstream.sync.Client, name: str, start: Start) -> None:
    with looker.session(name="holder") as session, session.lock(name) as held:
        start("hold", name)
        view = until_entries(looker, name, "held", "waiting")
        shown = json.loads(cli("show", "--json", name).stdout)
        assert [(entry["state"], entry["client_name"], entry["position"]) for entry in shown["entries"]] == [
            ("held", "holder", 0),
            ("waiting", shown["entries"][1]["client_name"], 1),
        ]
        assert shown["entries"][0]["granted_at"]
        _, first, second = cli("show", name).stdout.splitlines()
        assert first.split()[0] == "held"
        assert {str(held.token), "holder", view.entries[0].session_id} <= set(first.split())
        assert second.startswith("waiting, 1.")


def test_a_free_lock_is_shown_as_free(cli: Cli, name: str) -> None:
    assert cli("show", name).stdout == f"{name} is free\n"
    assert json.loads(cli("show", "--json", name).stdout)["entries"] == []


def test_sessions_lists_who_is_there(cli: Cli, looker: lockstream.sync.Client, name: str) -> None:
    with looker.session(name="who", ttl=7) as session, session.lock(name):
        until_entries(looker, name, "held")
        found = {each["session_id"]: each for each in json.loads(cli("sessions", "--json").stdout)}[session.id]
        assert (found["client_name"], found["ttl"], found["claims"][0]["name"]) == ("who", 7, name)
        (row,) = [row.split() for row in cli("sessions").stdout.splitlines() if session.id in row]
        assert (row[1], row[3:6]) == ("who", ["7s", "1", "0"])


def test_a_name_cannot_command_the_terminal(cli: Cli, looker: lockstream.sync.Client, name: str) -> None:
    sly = f"{name}/\x1b[2J\n[bold]"
    with looker.lock(sly):
        until_entries(looker, sly, "held")
        text = cli("ls", name).stdout
    assert r"\x1b[2J\n[bold]" in text
    assert "\x1b" not in text


# What cannot be done.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "command"),
        (("bogus",), "bogus"),
        (("run", "name"), "COMMAND"),
        (("run", "--wait", "soon", "name", "--", "true"), "soon"),
        (("run", "--kill-after=-1s", "name", "--", "true"), "-1s"),
        (("hold", "--ttl", "0", "name"), "ttl"),
        (("hold", ""), "name"),
        (("ls", "--bogus"), "--bogus"),
        (("ls", "-s", "http://host"), "http"),
        (("-s", "lockstream://host?ttl=x", "ls"), "ttl"),
    ],
)
def test_what_is_not_understood_is_one_sentence_and_code_2(cli: Cli, arguments: Sequence[str], named: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("lockstream: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


@pytest.mark.parametrize("before", [True, False])
def test_no_server_is_one_sentence_and_a_code(cli: Cli, before: bool) -> None:
    """The option goes before the environment, in either place."""
    nowhere = f"lockstream://127.0.0.1:{free_port()}?connect_timeout=300ms"
    done = cli("-s", nowhere, "ls") if before else cli("ls", "--server", nowhere)
    assert done.returncode == 125
    assert nowhere in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [(), ("run",), ("hold",)])
def test_help_tells_the_exit_codes(cli: Cli, command: Sequence[str]) -> None:
    done = cli(*command, "--help")
    assert done.returncode == 0
    for code in ("123", "124", "125"):
        assert f"\n    {code}  " in done.stdout
