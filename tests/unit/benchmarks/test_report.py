import io
import json
from pathlib import Path

from rich.console import Console

from tests.benchmarks.figures import Figure
from tests.benchmarks.plan import LOCKSTREAM, LOCKSTREAM_SHARED, TXN, V3LOCK, Point
from tests.benchmarks.report import print_table, write_json_lines

FIGURES = {
    Point("pairs", LOCKSTREAM_SHARED, 64): Figure(
        12_345.678, "pairs/s", p50_ms=5.25, p99_ms=9.87654, cpu_us={"client": 50.4, "server": 61, "etcd": 20}
    ),
    Point("pairs", V3LOCK, 64): Figure(
        6_172.839, "pairs/s", p50_ms=10.5, p99_ms=20, cpu_us={"client": 150, "etcd": 160.6}
    ),
    Point("pairs", TXN, 256): Figure(7_000, "pairs/s", p50_ms=30, p99_ms=60),
    Point("idle_session", LOCKSTREAM, 1000): Figure(26.04, "KiB"),
}


def test_there_is_one_json_line_per_figure_with_the_same_keys_in_each(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.jsonl"

    write_json_lines(FIGURES, path)

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {
        "bench": "pairs",
        "system": "lockstream-shared",
        "concurrency": 64,
        "value": 12345.7,
        "unit": "pairs/s",
        "p50_ms": 5.25,
        "p99_ms": 9.877,
    }
    assert lines[3] == {
        "bench": "idle_session",
        "system": "lockstream",
        "concurrency": 1000,
        "value": 26.0,
        "unit": "KiB",
        "p50_ms": None,
        "p99_ms": None,
    }
    assert len(lines) == len(FIGURES)


def test_a_run_replaces_the_lines_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    write_json_lines(FIGURES, path)

    write_json_lines({Point("pairs", TXN, 1): Figure(1, "pairs/s")}, path)

    assert len(path.read_text().splitlines()) == 1


def table_cells(figures: dict[Point, Figure]) -> dict[str, list[str]]:
    """The cells of the table's rows by system."""
    text = io.StringIO()
    print_table(figures, Console(file=text, width=140))
    rows = [line.split() for line in text.getvalue().splitlines()]
    return {row[1]: row[2:] for row in rows if len(row) > 1 and row[1] in (LOCKSTREAM, LOCKSTREAM_SHARED, V3LOCK, TXN)}


def test_the_table_has_each_figure_beside_its_ratios_to_v3lock() -> None:
    cells = table_cells(FIGURES)

    shared = ["64", "12,346", "pairs/s", "5.25", "9.88", "2.00", "0.50", "50", "+", "61", "+", "20"]
    assert cells[LOCKSTREAM_SHARED] == shared
    assert cells[V3LOCK] == ["64", "6,173", "pairs/s", "10.50", "20.00", "1.00", "1.00", "150", "+", "161"]


def test_no_ratio_is_made_up_where_v3lock_was_not_measured_alike() -> None:
    cells = table_cells(FIGURES)

    assert cells[TXN] == ["256", "7,000", "pairs/s", "30.00", "60.00"]
    assert cells[LOCKSTREAM] == ["1000", "26.0", "KiB"]
