"""The command `lockstream`: permits, several locks, limits of a hold, watching and breaking."""

import json
import re
import shlex
import signal
from typing import Any

import pytest

import lockstream.sync
from lockstream.cli.app import EXAMPLES
from tests.support.cli import PATIENCE, PROGRAM, Cli, Start, shell, until_entries, until_says
from tests.support.processes import ChildProcess, wait_until

REASON = "stuck since noon"


def until_lines(process: ChildProcess, number: int) -> list[str]:
    """Wait until the process has written so many lines."""
    process.wait_until(lambda: len(process.output_lines()) >= number, timeout=PATIENCE, what=f"{number} lines")
    return process.output_lines()


def objects(lines: list[str]) -> list[dict[str, Any]]:
    """The JSON object of each line."""
    return [json.loads(line) for line in lines]


# How a lock is asked for.


def test_permits_are_shared_out(cli: Cli, start: Start, looker: lockstream.sync.Client, name: str) -> None:
    hold = start("hold", "--permits", "2", "--limit", "3", "--json", name)
    (said,) = objects(until_lines(hold, 1))
    assert (said["permits"], said["shared"]) == (2, False)
    assert cli("run", "--limit", "3", "--wait", "0", name, "--", "true").returncode == 0
    assert cli("run", "--permits", "2", "--limit", "3", "--wait", "0", name, "--", "true").returncode == 124
    refused = cli("run", "--limit", "4", "--wait", "0", name, "--", "true")
    assert (refused.returncode, refused.stderr.count("\n")) == (125, 1)
    until_entries(looker, name, "held")
    assert "permits 2/3" in cli("ls", name).stdout


@pytest.mark.parametrize("options", [("--permits", "2"), ("--permits", "3", "--limit", "2"), ("--limit", "0")])
def test_permits_that_cannot_be_are_refused(cli: Cli, name: str, options: tuple[str, ...]) -> None:
    done = cli("run", *options, name, "--", "true")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_several_locks_are_held_at_once(cli: Cli, looker: lockstream.sync.Client, name: str) -> None:
    names = [f"{name}/{end}" for end in "abc"]
    first, second, third = names
    done = cli("run", first, "--and", second, "--and", third, *shell('echo "$LOCKSTREAM_NAME"', f"{PROGRAM} ls --json"))
    *told, listing = done.stdout.splitlines()
    assert (done.returncode, told) == (0, names)
    mine = [lock for lock in json.loads(listing) if lock["name"] in names]
    assert [lock["name"] for lock in mine] == names
    assert len({lock["entries"][0]["token"] for lock in mine}) == 1
    with looker.lock(second):
        assert cli("run", first, "--and", second, "--wait", "0", "--", "true").returncode == 124
    assert looker.get_lock(first, linearizable=True).entries == ()


def test_a_hold_that_lasts_too_long_is_lost(cli: Cli, name: str) -> None:
    done = cli("hold", "--max-hold", "1s", name)
    assert done.returncode == 123
    assert "--max-hold is nearly over" in done.stderr
    assert "MAX_HOLD_EXCEEDED" in done.stderr
    history = json.loads(cli("show", "--history", "--json", name).stdout)["evictions"]
    assert [one["token"] for one in history] == [int(done.stdout)]


def test_a_lock_delay_keeps_the_name_taken_after_a_kill(
    cli: Cli, start: Start, looker: lockstream.sync.Client, name: str
) -> None:
    hold = start("hold", "--lock-delay", "1m", "--ttl", "2s", "--value", "me", name)
    until_lines(hold, 1)
    shown = cli("show", name).stdout
    assert re.search(r"LOCK DELAY +VALUE\n.* 1m00s +me *\n", shown), shown
    hold.kill()
    until_entries(looker, name, "delay")
    assert cli("run", "--wait", "0", name, "--", "true").returncode == 124
    assert "(its holder was lost)" in cli("show", name).stdout
    assert "lock delay" in cli("ls", "--held", name).stdout


# Looking.


def test_show_tells_value_and_labels(cli: Cli, looker: lockstream.sync.Client, name: str) -> None:
    with looker.lock(name, value=b"\x1b10.0.0.7", metadata={"zone": "a", "build": "7"}):
        until_entries(looker, name, "held")
        heading, row = cli("show", name).stdout.splitlines()
        assert heading.split()[-2:] == ["VALUE", "LABELS"]
        assert row.rstrip().endswith(r"\x1b10.0.0.7  build=7 zone=a")
        (entry,) = json.loads(cli("show", "--json", name).stdout)["entries"]
        assert (entry["value"], entry["metadata"], entry["mode"]) == (
            "\x1b10.0.0.7",
            {"zone": "a", "build": "7"},
            "exclusive",
        )


def test_a_table_in_a_pipe_is_not_cut(cli: Cli, looker: lockstream.sync.Client, name: str) -> None:
    long = f"{name}/{'n' * 300}"
    with looker.lock(long):
        until_entries(looker, long, "held")
        _, row = cli("ls", long).stdout.splitlines()
        assert row.split()[0] == long


def test_a_value_that_is_no_text_is_shown_whole(cli: Cli, looker: lockstream.sync.Client, name: str) -> None:
    with looker.lock(name, value=b"\xff\x00"):
        until_entries(looker, name, "held")
        (entry,) = json.loads(cli("show", "--json", name).stdout)["entries"]
        assert entry["value"] == {"base64": "/wA="}


def test_listings_are_filtered(cli: Cli, start: Start, looker: lockstream.sync.Client, name: str) -> None:
    with (
        looker.session(name=f"{name}-client") as session,
        session.lock(f"{name}/a"),
        looker.lock(f"{name}/b"),
    ):
        start("hold", f"{name}/b")
        until_entries(looker, f"{name}/b", "held", "waiting")

        def names(*options: str) -> list[str]:
            return [lock["name"] for lock in json.loads(cli("ls", "--json", *options, name).stdout)]

        assert names("--held") == [f"{name}/a", f"{name}/b"]
        assert names("--contended") == [f"{name}/b"]
        assert names("--session", session.id) == [f"{name}/a"]
        found = json.loads(cli("sessions", "--json", "--client", f"{name}-client").stdout)
        assert [each["session_id"] for each in found] == [session.id]
        server = found[0]["server"]
        assert session.id in cli("sessions", "--on", server).stdout
        assert json.loads(cli("sessions", "--json", "--on", f"{server}-not").stdout) == []


# Watching.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_prints_what_happens_until_a_signal(
    start: Start, looker: lockstream.sync.Client, name: str, number: signal.Signals
) -> None:
    watch = start("watch", name)
    (first,) = until_lines(watch, 1)
    assert first.endswith("  nothing is held or awaited\n")
    with looker.lock(name, value=b"me") as lock:
        pass
    _, granted, released = until_lines(watch, 3)
    assert re.fullmatch(
        rf"{lock.token}  granted   {name}  exclusive, token {lock.token}, session \w{{16}}, owner .*, value me\n",
        granted,
    )
    assert granted.split("  ", 1)[0] < released.split("  ", 1)[0]
    assert released.split()[1:3] == ["released", name]
    watch.send_signal(number)
    assert watch.wait(PATIENCE) == 0
    assert watch.log_text() == ""


def test_watch_prints_json_and_goes_on_after_a_revision(
    start: Start, looker: lockstream.sync.Client, name: str
) -> None:
    with looker.lock(f"{name}/a") as lock:
        until_entries(looker, f"{name}/a", "held")
        watch = start("watch", "--json", "--prefix", f"{name}/")
        (snapshot,) = objects(until_lines(watch, 1))
        assert snapshot["kind"] == "snapshot"
        assert [one["entries"][0]["token"] for one in snapshot["locks"]] == [lock.token]
    released = objects(until_lines(watch, 2))[1]
    assert (released["kind"], released["name"], released["reason"]) == ("released", lock.name, None)
    assert released["entry"]["token"] == lock.token
    again = start("watch", "--json", "--prefix", f"{name}/", "--after", str(lock.token - 1))
    assert [(one["kind"], one["revision"]) for one in objects(until_lines(again, 2))] == [
        ("granted", lock.token),
        ("released", released["revision"]),
    ]


# Breaking.


def test_break_takes_a_lock_away_and_leaves_a_record(
    cli: Cli, start: Start, looker: lockstream.sync.Client, name: str
) -> None:
    hold = start("hold", name)
    token = until_lines(hold, 1)[0].strip()
    (entry,) = until_entries(looker, name, "held").entries
    stale = cli("break", name, "--token", str(int(token) - 1), "--reason", REASON)
    assert (stale.returncode, stale.stderr.count("\n")) == (125, 1)
    done = cli("break", name, "--token", token, "--reason", REASON, "--actor", "op@host")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{name} was taken from session {entry.session_id}, token {token}\n"
    assert hold.wait(PATIENCE) == 123
    assert f"FORCE_RELEASED by op@host: {REASON}" in hold.log_text()
    free, told, heading, row = cli("show", "--history", name).stdout.splitlines()
    assert (free, told) == (f"{name} is free", "evicted within the last hour:")
    assert heading.split() == ["AGO", "TOKEN", "SESSION", "BY", "REASON"]
    assert row.split(maxsplit=4)[1:] == [token, entry.session_id, "op@host", REASON]


def test_break_takes_any_hold_away(cli: Cli, start: Start, name: str) -> None:
    holds = [start("hold", "--shared", name) for _ in range(2)]
    tokens = {int(until_lines(hold, 1)[0]) for hold in holds}
    done = json.loads(cli("break", name, "--any", "--reason", REASON, "--json").stdout)
    assert {one["token"] for one in done} == tokens
    assert [hold.wait(PATIENCE) for hold in holds] == [123, 123]
    nobody = cli("break", name, "--any", "--reason", REASON)
    assert nobody.returncode == 125
    assert name in nobody.stderr


def test_ending_a_session_frees_what_it_holds(
    cli: Cli, start: Start, looker: lockstream.sync.Client, name: str
) -> None:
    hold = start("hold", name)
    until_lines(hold, 1)
    (entry,) = until_entries(looker, name, "held").entries
    done = json.loads(cli("end-session", entry.session_id, "--reason", REASON, "--json").stdout)
    assert (done["session_id"], done["reason"]) == (entry.session_id, REASON)
    assert hold.wait(PATIENCE) == 123
    assert looker.get_lock(name, linearizable=True).entries == ()
    assert cli("end-session", entry.session_id, "--reason", REASON).returncode == 125
    assert cli("end-session", "nonsense", "--reason", REASON).returncode == 2


def test_nobody_was_evicted(cli: Cli, name: str) -> None:
    assert cli("show", "--history", name).stdout == f"{name} is free\nnobody was evicted within the last hour\n"


# The help.


def test_the_examples_of_the_help_work(start: Start, looker: lockstream.sync.Client) -> None:
    """As they stand, but for the commands they run, which are not there, and the token, which is none of ours."""
    ends = {"run": 0, "ls": 0, "show": 0, "break": 125}
    for line in re.findall(r"^  lockstream (.*)$", EXAMPLES, re.MULTILINE):
        arguments = shlex.split(line)
        if "--" in arguments:
            arguments[arguments.index("--") + 1 :] = ["true"]
        process = start(*arguments)
        if (code := ends.get(arguments[0])) is None:
            until_lines(process, 1)
            process.send_signal(signal.SIGINT)
            code = 0
        assert process.wait(PATIENCE) == code, (line, process.log_text())
    wait_until(lambda: not looker.get_lock("scheduler").entries, timeout=PATIENCE, what="nothing is left held")


def test_hold_says_that_it_is_asked_for(start: Start, looker: lockstream.sync.Client, name: str) -> None:
    hold = start("hold", name)
    until_lines(hold, 1)
    with looker.session() as session, pytest.raises(lockstream.WaitTimeout):
        session.acquire(name, request_yield=True, wait=1)
    hold.wait_until(
        lambda: f"somebody asks for lock {name!r}" in hold.log_text(), timeout=PATIENCE, what="hold is told of the wish"
    )
    until_says(hold, str(until_entries(looker, name, "held").entries[0].token))
