"""Everything that the README's reader is told to type does what the README says.

Python blocks are run as programs: `#>` is followed by what that line prints. Console blocks are run by bash: lines
behind `$` (and `>`, going on) are typed, the others are what it prints. In both, `...` stands for anything.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.etcd import EtcdProcess
from tests.support.processes import ChildProcess, accepts_connections, free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEFAULT_PORT, DEFAULT_ETCD = "7420", "127.0.0.1:2379"
START_SECONDS = 20.0


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks in this language, in their order."""
    return [block for marked, block in BLOCK.findall(text) if marked == language]


COMMANDS, SERVER, OWN_ETCD = blocks("sh")
PROGRAMS, CONVERSATIONS = blocks("python"), blocks("console")


def environment(**variables: str) -> dict[str, str]:
    """What a reader's shell has after activating the virtual environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTREAM_")}
    return {**plain, "PATH": path, **variables}


def assert_prints(printed: str, expected: str) -> None:
    """Fail unless the text is what is expected, `...` being anything, and blanks at the ends of lines aside."""
    printed, expected = ("\n".join(line.rstrip() for line in text.splitlines()) for text in (printed, expected))
    pattern = ".*?".join(re.escape(part) for part in re.split(r" *\.\.\.\n?", expected))
    assert re.fullmatch(pattern, printed, re.DOTALL), printed


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The port of a server that was started as the README says, but for its port."""
    port = free_port()
    # The shell becomes the server, so that what ends the one ends the other.
    *preparation, server = SERVER.splitlines()
    process = ChildProcess(
        ["bash", "-ec", "\n".join([*preparation, f"exec {server}"])],
        log=tmp_path_factory.mktemp("readme") / "lockstreamd.log",
        env=environment(LOCKSTREAM_LISTEN=f"127.0.0.1:{port}"),
        cwd=ROOT,
    )
    with process:
        until_serving(process, port)
        yield str(port)


def until_serving(process: ChildProcess, port: int) -> None:
    """Wait until the server answers."""

    def serving() -> bool:
        if not accepts_connections(port):
            return False
        looked = subprocess.run(
            ["lockstream", "ls"],
            env=environment(LOCKSTREAM_SERVERS=f"127.0.0.1:{port}"),
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
        )
        return looked.returncode == 0

    process.wait_until(serving, timeout=START_SECONDS, what="the server answers")


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_python_snippet_prints_what_it_says(port: str, number: int) -> None:
    program = PROGRAMS[number]
    done = subprocess.run(
        [sys.executable, "-c", program.replace(DEFAULT_PORT, port)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert_prints(done.stdout, "\n".join(re.findall(r"#> (.*)$", program, re.MULTILINE)))


@pytest.mark.parametrize("number", range(len(CONVERSATIONS)))
def test_a_shell_session_prints_what_it_says(port: str, number: int) -> None:
    block = CONVERSATIONS[number]
    typed = [line[2:] for line in block.splitlines() if line.startswith(("$ ", "> "))]
    expected = [line for line in block.splitlines() if not line.startswith(("$ ", "> "))]
    done = subprocess.run(
        ["bash", "-c", "\n".join(typed).replace(DEFAULT_PORT, port)],
        env=environment(LOCKSTREAM_SERVERS=f"localhost:{port}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert_prints(done.stdout, "\n".join(expected))


def test_the_server_runs_on_an_etcd_of_ones_own(etcd: EtcdProcess, tmp_path: Path) -> None:
    port = free_port()
    command = OWN_ETCD.replace(DEFAULT_ETCD, etcd.endpoint).replace(DEFAULT_PORT, str(port))
    with ChildProcess(["bash", "-ec", f"exec {command}"], log=tmp_path / "log", env=environment()) as process:
        until_serving(process, port)


def test_the_two_commands_are_there() -> None:
    """They run everything, this test included: so it only looks whether make knows how."""
    for command in COMMANDS.splitlines():
        make, target = command.split()
        subprocess.run([make, "--dry-run", target], cwd=ROOT, capture_output=True, timeout=30, check=True)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!https?:)[^)]+)\)", README))))
def test_a_link_leads_somewhere(link: str) -> None:
    path, _, heading = link.partition("#")
    assert (ROOT / path).exists()
    if heading:
        headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
        assert heading in [text.lower().replace(" ", "-") for text in headings]
