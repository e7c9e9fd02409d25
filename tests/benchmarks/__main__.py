"""The command `python -m tests.benchmarks`; the package says what is measured."""

import argparse
import dataclasses
import sys
from pathlib import Path

from rich.console import Console

from tests.benchmarks.figures import Figure
from tests.benchmarks.plan import BENCHES, FULL, QUICK, SYSTEMS, Point, points
from tests.benchmarks.report import print_table, write_json_lines
from tests.benchmarks.requirements import REQUIREMENTS, shortfalls
from tests.benchmarks.rounds import run

OUTPUT = Path("build/bench.jsonl")
TABLE_WIDTH = 132


def main() -> int:
    """Measure, report, and with `--check` say what falls short; the exit code is 1 if anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true", help="shorter: under two minutes")
    parser.add_argument("--check", action="store_true", help="fail if a required figure is missed")
    parser.add_argument("--rounds", type=int, help="rounds over all points")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--benches", nargs="+", choices=BENCHES, default=list(BENCHES))
    args = parser.parse_args()

    pace = QUICK if args.quick else FULL
    if args.rounds is not None:
        pace = dataclasses.replace(pace, rounds=args.rounds)
    narrator = Console(stderr=True, highlight=False)
    # The table needs so many columns, also on a narrow terminal and where its reader is a file.
    console = Console(highlight=False, width=TABLE_WIDTH)

    def progress(number: int, point: Point, figure: Figure) -> None:
        narrator.print(f"round {number}/{pace.rounds}  {point}: {figure.value:,.0f} {figure.unit}", style="dim")

    figures = run(list(points(args.systems, args.benches)), pace, progress)
    write_json_lines(figures, OUTPUT)
    print_table(figures, console)
    console.print(f"Written to {OUTPUT}")
    if not args.check:
        return 0
    missed = shortfalls(figures)
    for sentence in missed:
        console.print(f"falls short: {sentence}", style="red", soft_wrap=True)
    console.print(f"{len(REQUIREMENTS) - len(missed)} of {len(REQUIREMENTS)} required figures are reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
