"""The simulation as a part of the normal test run: for a fixed short time, and the same every time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lockstream_server.core.queue import Queue
from tests.simulation.world import World

ROOT = Path(__file__).parents[2]
SECONDS = 10
SEED = 20
"""One with grants, losses and faults of several kinds."""


def simulate(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the program in a process of its own, whose hashes of texts are its own too."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.timeout(150)
def test_seeds_run_clean_for_a_while() -> None:
    run = simulate("--seconds", str(SECONDS))
    assert run.returncode == 0, run.stdout + run.stderr
    counted = re.search(r"(\d+) seeds, (\d+) steps, (\d+) grants, 0 failed", run.stdout)
    assert counted is not None, run.stdout
    seeds, steps, grants = map(int, counted.groups())
    assert seeds >= 20
    assert steps > 500 * seeds
    assert grants > seeds


def test_a_seed_is_the_same_in_every_process() -> None:
    runs = [simulate("--seed", str(SEED), "-v", PYTHONHASHSEED=seed) for seed in ("1", "2")]
    traces = [[line for line in run.stdout.splitlines() if " seeds, " not in line] for run in runs]
    assert len(traces[0]) > 100, runs[0].stdout + runs[0].stderr
    assert traces[0] == traces[1]


def test_a_seed_is_the_same_again_in_one_process() -> None:
    first, again = (World(SEED, traced=True).run(1_000) for _ in range(2))
    assert first.trace == again.trace
    assert first.steps == again.steps
    assert first.grants == again.grants > 0


def test_tracing_changes_nothing() -> None:
    assert World(SEED).run(1_000).steps == World(SEED, traced=True).run(1_000).steps


def test_another_seed_is_another_world() -> None:
    assert World(SEED, traced=True).run(1_000).trace != World(SEED + 1, traced=True).run(1_000).trace


def test_a_failing_seed_says_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.simulation import __main__ as program  # noqa: PLC0415 - it is a program first

    monkeypatch.setattr(Queue, "advance", lambda _: iter(()))  # nobody is ever granted by the fold
    monkeypatch.setattr(sys, "argv", ["simulation", "--seeds", "20"])
    assert program.main() == 1
    told = capsys.readouterr().out
    replay = re.search(r"replay: python -m tests\.simulation --seed (\d+) --steps 1000 -v", told)
    assert replay is not None, told
    result = World(int(replay[1]), traced=True).run(1_000)
    assert result.violations
    assert any("acquire" in line for line in result.trace)
