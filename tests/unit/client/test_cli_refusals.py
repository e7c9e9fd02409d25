"""What the command line cannot ask of any server: one sentence and a code, never a traceback."""

from __future__ import annotations

import os
import shlex

import pytest

from lockstream.cli import app


@pytest.mark.parametrize(
    "line",
    [
        "run NAME -- true",
        "run a --and NAME -- true",
        "hold NAME",
        "hold a --ttl 99999999999",
        "hold a --max-hold 999999999999",
        "show NAME",
        "show --history NAME",
        "ls NAME",
        "ls --session NAME",
        "sessions --client NAME",
        "sessions --on NAME",
        "watch NAME",
        "watch --prefix NAME",
        "watch a --after 99999999999999999999",
        "break NAME --token 1 --reason r",
        "break a --token 99999999999999999999 --reason r",
        "break a --any --reason NAME",
        "break a --any --reason r --actor NAME",
        "end-session NAME --reason r",
        "-s NAME ls",
        "-s lockstream://a?connect_timeout=99999999999s ls",
    ],
)
def test_what_no_request_can_say_is_one_sentence_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """NAME is a byte that is no UTF-8, as Python has it in its arguments."""
    monkeypatch.setenv("LOCKSTREAM_SERVERS", "local:")
    assert app.main([word.replace("NAME", os.fsdecode(b"\xff")) for word in shlex.split(line)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("lockstream: ")
    assert said.err.count("\n") == 1
