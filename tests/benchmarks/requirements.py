"""The figures that Lockstream must reach, and how a run is held against them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.benchmarks.figures import Figure
from tests.benchmarks.plan import LOCKSTREAM, LOCKSTREAM_SHARED, V3LOCK, Point

Number = Literal["value", "p50_ms", "p99_ms"]


@dataclass(frozen=True)
class Requirement:
    """A bound on one number of one figure, absolute or in multiples of `etcd-v3lock`'s."""

    point: Point
    number: Number
    kind: Literal["at least", "at most"]
    bound: float
    relative: bool

    def shortfall(self, figures: Mapping[Point, Figure]) -> str | None:
        """A sentence saying how the figures fall short of this, or None if they do not."""
        found = _number(figures, self.point, self.number)
        unit = ""
        if self.relative:
            base = _number(figures, Point(self.point.bench, V3LOCK, self.point.concurrency), self.number)
            found = found / base if found is not None and base else None
            unit = f" times {V3LOCK}"
        wanted = f"{self.point}: {self.number} must be {self.kind} {self.bound:g}{unit}"
        if found is None:
            return f"{wanted}, and was not measured"
        met = found >= self.bound if self.kind == "at least" else found <= self.bound
        return None if met else f"{wanted}, and is {found:.2f}"


def shortfalls(figures: Mapping[Point, Figure]) -> list[str]:
    """A sentence for each requirement that is not met."""
    checked = (requirement.shortfall(figures) for requirement in REQUIREMENTS)
    return [sentence for sentence in checked if sentence is not None]


def _number(figures: Mapping[Point, Figure], point: Point, number: Number) -> float | None:
    figure = figures.get(point)
    if figure is None:
        return None
    return {"value": figure.value, "p50_ms": figure.p50_ms, "p99_ms": figure.p99_ms}[number]


def _pairs(system: str, concurrency: int, bound: float) -> Requirement:
    return Requirement(Point("pairs", system, concurrency), "value", "at least", bound, relative=True)


def _drain(waiters: int) -> Requirement:
    point = Point("handoff_drain", LOCKSTREAM, waiters)
    return Requirement(point, "p50_ms", "at most", 1.2, relative=True)


REQUIREMENTS = (
    _pairs(LOCKSTREAM_SHARED, 64, 1.5),
    _pairs(LOCKSTREAM_SHARED, 256, 2.0),
    _pairs(LOCKSTREAM, 1, 0.45),
    _pairs(LOCKSTREAM, 64, 0.9),
    _pairs(LOCKSTREAM, 256, 0.9),
    _drain(8),
    _drain(64),
    Requirement(Point("handoff_steady", LOCKSTREAM, 8), "value", "at least", 800, relative=False),
    Requirement(Point("kill_to_grant", LOCKSTREAM, 1), "p50_ms", "at most", 200, relative=False),
    Requirement(Point("idle_session", LOCKSTREAM, 1000), "value", "at most", 80, relative=False),
    Requirement(Point("idle_connection", LOCKSTREAM, 1000), "value", "at most", 80, relative=False),
)
