"""Figures: what one measurement, or the median of several, says."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MILLISECONDS = 1_000.0
MICROSECONDS = 1_000_000.0


@dataclass(frozen=True)
class Figure:
    """A value with its unit.

    Attributes:
        value: the number.
        unit: what it counts.
        p50_ms: the median of the single durations behind it, if there are any.
        p99_ms: what 99 of 100 of them do not exceed.
        cpu_us: microseconds of processor time for each thing counted, by process, where that was measured.
    """

    value: float
    unit: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: Mapping[str, float] = field(default_factory=dict)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` of all samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def rate(durations: Sequence[float], seconds: float, unit: str) -> Figure:
    """So many things in so many seconds, each of which took its duration (in seconds).

    Raises:
        RuntimeError: nothing was completed at all.
    """
    if not durations:
        raise RuntimeError(f"nothing completed in {seconds:g} s: no {unit} to report")
    return Figure(
        value=len(durations) / seconds,
        unit=unit,
        p50_ms=percentile(durations, 50) * MILLISECONDS,
        p99_ms=percentile(durations, 99) * MILLISECONDS,
    )


def median(figures: Sequence[Figure]) -> Figure:
    """The median of each number, taken by itself."""

    def middle(numbers: list[float | None]) -> float | None:
        known = [number for number in numbers if number is not None]
        return statistics.median(known) if known else None

    return Figure(
        value=statistics.median([figure.value for figure in figures]),
        unit=figures[0].unit,
        p50_ms=middle([figure.p50_ms for figure in figures]),
        p99_ms=middle([figure.p99_ms for figure in figures]),
        cpu_us={name: statistics.median([figure.cpu_us[name] for figure in figures]) for name in figures[0].cpu_us},
    )
