"""`python -m tests.simulation`: many seeds, or one with everything that happened."""

import argparse
import logging
import sys
import time
from collections import Counter

from tests.simulation.world import Result, World


def main() -> int:
    """Run seeds until there are enough, or one fails. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many seeds; 1000 unless a time or a seed is stated")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--steps", type=int, default=1_000, help="steps with faults of each seed (default: 1000)")
    parser.add_argument("--seconds", type=float, help="run seeds for that long")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--keep-going", action="store_true", help="do not end with the first seed that fails")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell everything that happens")
    stated = parser.parse_args()
    if stated.seed is not None:
        stated.first, stated.seeds = stated.seed, 1
    elif stated.seeds is None:
        stated.seeds = 1_000 if stated.seconds is None else sys.maxsize
    logging.disable()  # what servers and clients log is the trace's to tell
    begun = time.monotonic()
    seeds = steps = grants = failed = 0
    faults: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for seed in range(stated.first, stated.first + stated.seeds):
        result = World(seed, traced=stated.verbose).run(stated.steps)
        seeds, steps, grants = seeds + 1, steps + result.steps, grants + result.grants
        faults += result.faults
        outcomes += result.outcomes
        if stated.verbose:
            _say("\n".join(result.trace))
        if result.violations:
            failed += 1
            _tell(result, stated.steps)
            if not stated.keep_going:
                break
        if stated.seconds is not None and time.monotonic() - begun > stated.seconds:
            break
    took = time.monotonic() - begun
    speed = f"{seeds / took:.0f} seeds/s, {steps / took:.0f} steps/s"
    _say(f"{seeds} seeds, {steps} steps, {grants} grants, {failed} failed, in {took:.1f} s: {speed}")
    for what, counted in (("faults", faults), ("outcomes", outcomes)):
        _say(f"{what}: " + ", ".join(f"{kind} {number}" for kind, number in counted.most_common()))
    return 1 if failed else 0


def _tell(result: Result, steps: int) -> None:
    _say(f"seed {result.seed} fails at step {result.steps}, after {result.seconds:.3f} s:")
    for violation in result.violations:
        _say(f"  {violation}")
    _say(f"replay: python -m tests.simulation --seed {result.seed} --steps {steps} -v")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
