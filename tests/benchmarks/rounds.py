"""Running the load generator, point by point and round by round."""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks import deadlocks
from tests.benchmarks.figures import Figure, median
from tests.benchmarks.memory import idle_sessions
from tests.benchmarks.plan import Pace, Point
from tests.benchmarks.sites import Site, running_sites
from tests.support.processes import ChildProcess

POINT_TIMEOUT_SECONDS = 60.0

Progress = Callable[[int, Point, Figure], None]
"""Told of each figure as it is found, with the number of its round."""


def run(points: Sequence[Point], pace: Pace, progress: Progress) -> dict[Point, Figure]:
    """Measure every point in every round, and return the medians over the rounds."""
    systems = list(dict.fromkeys(point.system for point in points))
    found: dict[Point, list[Figure]] = {point: [] for point in points}
    for number in range(1, pace.rounds + 1):
        with running_sites(systems) as sites:
            for point in points:
                figure = measure(point, sites[point.system], pace)
                found[point].append(figure)
                progress(number, point, figure)
    return {point: median(figures) for point, figures in found.items()}


def measure(point: Point, site: Site, pace: Pace) -> Figure:
    """One measurement."""
    with tempfile.TemporaryDirectory(prefix="lockstream-bench-") as folder:
        match point.bench:
            case "idle_session":
                return idle_sessions(point.system, point.concurrency, "idle", Path(folder))
            case "idle_connection":
                return idle_sessions(point.system, point.concurrency, "apart", Path(folder))
            case "deadlock_none" | "deadlock_chain":
                return deadlocks.search(point.bench, point.concurrency)
            case _:
                return _generate_load(point, site, pace, Path(folder))


def _generate_load(point: Point, site: Site, pace: Pace, folder: Path) -> Figure:
    """Run a load generator to its end.

    Raises:
        RuntimeError: it failed; the message has what it wrote to standard error.
        TimeoutError: it took over a minute.
    """
    command = [
        *(sys.executable, "-m", "tests.benchmarks.load"),
        f"--bench={point.bench}",
        f"--system={point.system}",
        f"--target={site.target}",
        f"--etcd={site.etcd}",
        f"--concurrency={point.concurrency}",
        f"--warm-up={pace.warm_up}",
        f"--seconds={pace.seconds}",
        f"--kills={pace.kills}",
        *(f"--process={name}={pid}" for name, pid in site.pids.items()),
    ]
    with ChildProcess(command, log=folder / "log", output=folder / "output") as generator:
        if generator.wait(POINT_TIMEOUT_SECONDS) != 0:
            raise RuntimeError(f"{point} failed:\n{generator.log_text()}")
        (line,) = generator.output_lines()
    return Figure(**json.loads(line))
