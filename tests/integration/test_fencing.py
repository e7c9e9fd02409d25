"""docs/fencing.md does what it says: the store refuses a holder that was paused past its TTL, whoever died before."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ChildProcess
from tests.support.server import ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "fencing.md"
PROGRAM = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE = 20.0
"""Seconds that a program may take to start, or to be granted the lock after a TTL."""

DYING_WRITER = """
import resource, signal, sys
from register import Register
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
Register("register.json").write(8, "never to be read")
"""
"""Writes to the register, and is killed by the kernel when a file of its has the stated number of bytes."""


def unpack(folder: Path) -> None:
    """Write the page's programs into files."""
    for name, program in PROGRAM.findall(PAGE.read_text()):
        (folder / name).write_text(program)


class Writer:
    """The page's writer, waiting for its word on a pipe."""

    def __init__(self, folder: Path, server: ServerProcess, value: str) -> None:
        self._pipe = folder / f"{value}.pipe"
        os.mkfifo(self._pipe)
        command = f'exec "{sys.executable}" writer.py "{server.target}" register.json {value} 0<>"{self._pipe}"'
        self.process = ChildProcess(
            ["bash", "-c", command], log=folder / f"{value}.log", output=folder / f"{value}.out", cwd=folder
        )

    def until_it_says(self, word: str) -> str:
        """Wait for a line that begins with the word; the rest of it."""
        self.process.wait_until(lambda: self._said(word) is not None, timeout=PATIENCE, what=f"the writer says {word}")
        return self._said(word) or ""

    def _said(self, word: str) -> str | None:
        lines = [line.strip().partition(" ") for line in self.process.output_lines()]
        return next((rest for first, _, rest in lines if first.rstrip(":") == word), None)

    def go_on(self) -> None:
        """Let it write."""
        self._pipe.write_text("\n")


@pytest.mark.timeout(90)
def test_a_holder_paused_past_its_ttl_is_refused_by_the_store(server: ServerProcess, tmp_path: Path) -> None:
    unpack(tmp_path)
    paused, next_one = Writer(tmp_path, server, "stale"), Writer(tmp_path, server, "fresh")
    with paused.process:
        old = int(paused.until_it_says("holds"))
        paused.process.freeze()
        with next_one.process:
            new = int(next_one.until_it_says("holds"))
            assert new > old
            next_one.go_on()
            next_one.until_it_says("wrote")
        paused.go_on()
        paused.process.thaw()
        assert paused.until_it_says("refused") == f"token {old} is older than {new}"
    assert json.loads((tmp_path / "register.json").read_text()) == {"token": new, "value": "fresh"}


@pytest.mark.parametrize("written", [0, 10], ids=["nothing", "a part"])
def test_a_writer_that_dies_when_it_has_written(tmp_path: Path, written: int) -> None:
    """What the store had before it has still, above all the newest token that it saw; and it can be written again."""
    unpack(tmp_path)
    page = runpy.run_path(str(tmp_path / "register.py"))
    register = page["Register"](tmp_path / "register.json")
    register.write(7, "kept")
    dying = subprocess.run([sys.executable, "-c", DYING_WRITER, str(written)], cwd=tmp_path, check=False, timeout=20)
    assert dying.returncode == -signal.SIGXFSZ
    assert register.read() == {"token": 7, "value": "kept"}
    with pytest.raises(page["StaleTokenError"]):
        register.write(6, "late")
    register.write(9, "next")
    assert register.read() == {"token": 9, "value": "next"}
