"""What the command line understands, without a server."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from lockstream.cli import app, breaking, holding, listings, watching

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = re.compile(r"^  lockstream (.*)$", re.MULTILINE)
EXAMPLES = [match[1] for match in EXAMPLE.finditer(app.EXAMPLES)]


class Called(Exception):
    """A command was understood, and called with this."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(arguments, options)
        self.arguments = arguments
        self.options = options


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """Runs the command line up to where a server would be asked, and tells with what it would."""

    def call(*arguments: object, **options: object) -> None:
        raise Called(*arguments, **options)

    for module, name in (
        *((holding, name) for name in ("run", "hold")),
        *((listings, name) for name in ("ls", "show", "sessions")),
        (watching, "watch"),
        *((breaking, name) for name in ("break_lock", "end_session")),
    ):
        monkeypatch.setattr(module, name, call)
    monkeypatch.setenv("LOCKSTREAM_SERVERS", "there")

    def run(*arguments: str) -> Called:
        with pytest.raises(Called) as raised:
            app.main(arguments)
        return raised.value

    return run


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_help_are_understood(called: Callable[..., Called], example: str) -> None:
    called(*shlex.split(example))


def test_the_examples_show_every_kind_of_command() -> None:
    assert {shlex.split(example)[0] for example in EXAMPLES} >= {"run", "hold", "ls", "show", "watch", "break"}


@pytest.mark.parametrize("command", [("run", "a", "--", "true"), ("hold", "a"), ("acquire", "a")])
def test_a_lock_is_asked_for_as_stated(called: Callable[..., Called], command: tuple[str, ...]) -> None:
    options = ("--permits", "2", "--limit", "5", "--value", "v", "--max-hold", "1m", "--lock-delay", "500ms")
    verb, *rest = command
    (claim, *_) = called(verb, *options, "--wait", "0", "--ttl", "7s", *rest).arguments
    assert claim == holding.Claim(
        name="a", servers="there", wait=0, permits=2, limit=5, value="v", max_hold=60, lock_delay=0.5, ttl=7
    )


def test_several_locks_are_asked_for_at_once(called: Callable[..., Called]) -> None:
    (claim, *_) = called("run", "a", "--and", "b", "--and", "c", "--shared", "--", "true").arguments
    assert claim == holding.Claim(name="a", servers="there", also=("b", "c"), shared=True)


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("watch a", {"name": "a", "prefix": None, "after": 0, "as_json": False}),
        ("watch --prefix a --json --after 7", {"name": None, "prefix": "a", "after": 7, "as_json": True}),
        ("watch", {"name": None, "prefix": None, "after": 0, "as_json": False}),
        ("ls --held --session s p", {"held": True, "contended": False, "session_id": "s", "as_json": False}),
        ("show --history a", {"history": True, "as_json": False}),
        ("sessions --client c --on s", {"client_name": "c", "attached_to": "s", "as_json": False}),
        ("break a --token 7 --reason r --actor x", {"token": 7, "reason": "r", "actor": "x", "as_json": False}),
        ("break a --any --reason r --actor x", {"token": None, "reason": "r", "actor": "x", "as_json": False}),
        ("end-session s --reason r --actor x", {"reason": "r", "actor": "x", "as_json": False}),
    ],
)
def test_options_are_passed_on(called: Callable[..., Called], line: str, options: dict[str, Any]) -> None:
    assert called(*shlex.split(line)).options == options


def test_the_actor_is_the_user_unless_stated(called: Callable[..., Called]) -> None:
    assert called("end-session", "s", "--reason", "r").options["actor"] == breaking.this_user()
    assert re.fullmatch(r".+@.+", breaking.this_user())


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("watch a --prefix b", "--prefix"),
        ("watch a --after -1", "--after"),
        ("break a --reason r", "--any"),
        ("break a --token 7 --any --reason r", "--any"),
        ("break a --token 0 --reason r", "--token"),
        ("break a --any", "--reason"),
        ("end-session s", "--reason"),
        ("end-session --reason r", "ID"),
        ("hold a --and b --value v", "--and"),
        ("hold a --and b --max-hold 1s", "--and"),
        ("hold a --and b --lock-delay 1s", "--and"),
        ("hold a --permits some", "--permits"),
        ("hold a --max-hold soon", "--max-hold"),
    ],
)
def test_what_is_not_understood_is_one_sentence(capsys: pytest.CaptureFixture[str], line: str, named: str) -> None:
    assert app.main(shlex.split(line)) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1
