import dataclasses
import json

import pytest

from tests.benchmarks.figures import Figure, median, percentile, rate


@pytest.mark.parametrize(
    ("samples", "percent", "expected"),
    [
        ([5.0], 50, 5.0),
        ([5.0], 99, 5.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 102)], 99, 100.0),
        ([1.0, 2.0], 0, 1.0),
        ([1.0, 2.0], 100, 2.0),
    ],
)
def test_percentile_is_the_nearest_rank(samples: list[float], percent: float, expected: float) -> None:
    assert percentile(samples, percent) == expected


def test_rate_counts_per_second_and_gives_durations_in_milliseconds() -> None:
    assert rate([0.001, 0.003, 0.002, 0.010], 2.0, "pairs/s") == Figure(2.0, "pairs/s", p50_ms=2.0, p99_ms=10.0)


def test_a_rate_of_nothing_is_an_error_and_not_zero() -> None:
    with pytest.raises(RuntimeError, match=r"nothing completed in 2 s: no pairs/s to report"):
        rate([], 2.0, "pairs/s")


def test_median_takes_each_number_by_itself() -> None:
    figures = [
        Figure(10, "pairs/s", p50_ms=3, p99_ms=7, cpu_us={"client": 50, "etcd": 90}),
        Figure(30, "pairs/s", p50_ms=1, p99_ms=9, cpu_us={"client": 70, "etcd": 70}),
        Figure(20, "pairs/s", p50_ms=2, p99_ms=8, cpu_us={"client": 60, "etcd": 80}),
    ]

    assert median(figures) == Figure(20, "pairs/s", p50_ms=2, p99_ms=8, cpu_us={"client": 60, "etcd": 80})


def test_median_ignores_one_outlier() -> None:
    assert median([Figure(100, "ms"), Figure(101, "ms"), Figure(9_000, "ms")]).value == 101


def test_median_of_an_even_number_is_between_the_middle_two() -> None:
    assert median([Figure(1, "KiB"), Figure(2, "KiB"), Figure(4, "KiB"), Figure(8, "KiB")]).value == 3


def test_median_of_figures_without_durations_has_none() -> None:
    figure = median([Figure(1, "KiB"), Figure(2, "KiB"), Figure(3, "KiB")])

    assert figure.p50_ms is None
    assert figure.p99_ms is None


def test_a_figure_survives_the_way_from_the_load_generator() -> None:
    figure = Figure(20.5, "pairs/s", p50_ms=2, p99_ms=None, cpu_us={"client": 60})

    assert Figure(**json.loads(json.dumps(dataclasses.asdict(figure)))) == figure
