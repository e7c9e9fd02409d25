"""What `--check` says: each requirement met and missed by a little, and figures that are not there."""

from dataclasses import replace

import pytest

from tests.benchmarks.figures import Figure
from tests.benchmarks.plan import LOCKSTREAM, LOCKSTREAM_SHARED, SYSTEMS, V3LOCK, Point, points
from tests.benchmarks.requirements import REQUIREMENTS, shortfalls

V3LOCK_RATE, V3LOCK_P50 = 1_000.0, 10.0
LIMITS = {
    Point("pairs", LOCKSTREAM, 1): Figure(450, "pairs/s"),
    Point("pairs", LOCKSTREAM, 64): Figure(900, "pairs/s"),
    Point("pairs", LOCKSTREAM, 256): Figure(900, "pairs/s"),
    Point("pairs", LOCKSTREAM_SHARED, 64): Figure(1_500, "pairs/s"),
    Point("pairs", LOCKSTREAM_SHARED, 256): Figure(2_000, "pairs/s"),
    Point("handoff_drain", LOCKSTREAM, 8): Figure(1, "handoffs/s", p50_ms=12),
    Point("handoff_drain", LOCKSTREAM, 64): Figure(1, "handoffs/s", p50_ms=12),
    Point("handoff_steady", LOCKSTREAM, 8): Figure(800, "handoffs/s"),
    Point("kill_to_grant", LOCKSTREAM, 1): Figure(200, "ms", p50_ms=200, p99_ms=5_000),
    Point("idle_session", LOCKSTREAM, 1000): Figure(80, "KiB"),
    Point("idle_connection", LOCKSTREAM, 1000): Figure(80, "KiB"),
}
"""Figures that are just good enough, beside those of v3lock below."""
BASE = {
    Point(bench, V3LOCK, concurrency): Figure(V3LOCK_RATE, "/s", p50_ms=V3LOCK_P50)
    for bench, concurrencies in {"pairs": (1, 64, 256), "handoff_drain": (8, 64)}.items()
    for concurrency in concurrencies
}
MORE_IS_BETTER = ("pairs", "handoff_steady")


def worsened(point: Point) -> Figure:
    """The figure at the limit, 2 % worse in each of its numbers."""
    figure = LIMITS[point]
    value = figure.value * (0.98 if point.bench in MORE_IS_BETTER else 1.02)
    return replace(figure, value=value, p50_ms=figure.p50_ms and figure.p50_ms * 1.02)


def test_figures_at_their_limits_are_good_enough() -> None:
    assert shortfalls(BASE | LIMITS) == []


@pytest.mark.parametrize("point", LIMITS, ids=str)
def test_a_figure_beyond_its_limit_falls_short_alone(point: Point) -> None:
    (sentence,) = shortfalls(BASE | LIMITS | {point: worsened(point)})

    assert sentence.startswith(f"{point}: ")


def test_a_shortfall_names_what_must_be_and_what_is() -> None:
    slow = {
        Point("pairs", LOCKSTREAM_SHARED, 256): Figure(1_234, "pairs/s"),
        Point("idle_session", LOCKSTREAM, 1000): Figure(99.5, "KiB"),
    }

    assert shortfalls(BASE | LIMITS | slow) == [
        "pairs lockstream-shared x256: value must be at least 2 times etcd-v3lock, and is 1.23",
        "idle_session lockstream x1000: value must be at most 80, and is 99.50",
    ]


def test_what_counts_is_the_ratio_and_not_the_figure() -> None:
    faster_v3lock = {Point("pairs", V3LOCK, 1): Figure(2 * V3LOCK_RATE, "pairs/s")}

    (sentence,) = shortfalls(BASE | LIMITS | faster_v3lock)

    assert sentence == "pairs lockstream x1: value must be at least 0.45 times etcd-v3lock, and is 0.23"


@pytest.mark.parametrize("point", LIMITS, ids=str)
def test_what_was_not_measured_falls_short(point: Point) -> None:
    figures = {each: figure for each, figure in (BASE | LIMITS).items() if each != point}

    (sentence,) = shortfalls(figures)

    assert sentence.startswith(f"{point}: ")
    assert sentence.endswith(", and was not measured")


@pytest.mark.parametrize("point", BASE, ids=str)
def test_a_ratio_to_what_was_not_measured_falls_short(point: Point) -> None:
    figures = {each: figure for each, figure in (BASE | LIMITS).items() if each != point}

    assert shortfalls(figures)
    assert all(sentence.endswith(", and was not measured") for sentence in shortfalls(figures))


def test_every_requirement_is_about_a_point_of_the_plan() -> None:
    planned = set(points(SYSTEMS, ["pairs", "handoff_drain", "handoff_steady", "kill_to_grant"]))
    planned |= set(points(SYSTEMS, ["idle_session", "idle_connection"]))

    assert {requirement.point for requirement in REQUIREMENTS} == LIMITS.keys()
    assert LIMITS.keys() <= planned
    assert BASE.keys() <= planned
