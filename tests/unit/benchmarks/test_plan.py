from tests.benchmarks.plan import BENCHES, FULL, LOCKSTREAM, SYSTEMS, TXN, V3LOCK, Point, points


def test_systems_take_turns_at_each_bench_and_concurrency() -> None:
    assert list(points([TXN, LOCKSTREAM, V3LOCK], ["pairs"]))[:4] == [
        Point("pairs", LOCKSTREAM, 1),
        Point("pairs", V3LOCK, 1),
        Point("pairs", TXN, 1),
        Point("pairs", LOCKSTREAM, 16),
    ]


def test_a_system_is_not_put_through_benches_that_mean_nothing_for_it() -> None:
    assert {point.bench for point in points([TXN], list(BENCHES))} == {"pairs"}


def test_every_system_is_measured_with_the_same_numbers_of_clients() -> None:
    concurrencies = [[point.concurrency for point in points([system], ["pairs"])] for system in SYSTEMS]

    assert concurrencies == [[1, 16, 64, 256]] * len(SYSTEMS)


def test_medians_are_over_three_rounds_or_more() -> None:
    assert FULL.rounds >= 3
