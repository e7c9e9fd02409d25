"""What a run leaves behind: a table for people and JSON lines for programs."""

import json
from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Figure
from tests.benchmarks.plan import V3LOCK, Point

_PROCESSES = ("client", "server", "etcd")
_CAPTION = (
    "x v3lock: the ratio of value and of p50\n"
    "cpu us: microseconds of processor time for each, in client + server (if there is one) + etcd"
)


def write_json_lines(figures: Mapping[Point, Figure], path: Path) -> None:
    """One object per figure; the folder of `path` is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lines:
        for point, figure in figures.items():
            line = {
                "bench": point.bench,
                "system": point.system,
                "concurrency": point.concurrency,
                "value": round(figure.value, 1),
                "unit": figure.unit,
                "p50_ms": _rounded(figure.p50_ms),
                "p99_ms": _rounded(figure.p99_ms),
            }
            lines.write(json.dumps(line) + "\n")


def print_table(figures: Mapping[Point, Figure], console: Console) -> None:
    """All figures, each beside its ratio to `etcd-v3lock` at the same bench and concurrency."""
    table = Table(box=box.SIMPLE_HEAD, caption=_CAPTION)
    for heading in ("bench", "system"):
        table.add_column(heading, no_wrap=True)
    for heading in ("clients", "value", "p50 ms", "p99 ms", "x v3lock", "p50 x", "cpu us"):
        table.add_column(heading, justify="right", no_wrap=True)
    previous: Point | None = None
    for point, figure in figures.items():
        here = (point.bench, point.concurrency)
        if previous is not None and here != (previous.bench, previous.concurrency):
            table.add_section()
        base = figures.get(Point(point.bench, V3LOCK, point.concurrency))
        table.add_row(
            point.bench,
            point.system,
            str(point.concurrency),
            f"{figure.value:,.{0 if figure.value >= 100 else 1}f} {figure.unit}",
            _text(figure.p50_ms),
            _text(figure.p99_ms),
            _text(figure.value / base.value if base else None),
            _text(figure.p50_ms / base.p50_ms if base and figure.p50_ms and base.p50_ms else None),
            " + ".join(f"{figure.cpu_us[name]:.0f}" for name in _PROCESSES if name in figure.cpu_us),
        )
        previous = point
    console.print(table)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"
