"""Which faults come follows from the seed; all kinds come; what happened is written down."""

import itertools
import math
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.robustness.cluster import Cluster
from tests.robustness.faults import KINDS, ImpossibleError, Scene, Schedule, bearable
from tests.robustness.faults.kinds import FAMILIES
from tests.robustness.faults.schedule import plan
from tests.robustness.history import Notebook
from tests.robustness.story import read

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = (0.05, 0.1)


@asynccontextmanager
async def harmless(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    yield f"nobody {rng.random()}"


@asynccontextmanager
async def impossible(scene: Scene, rng: random.Random) -> AsyncIterator[str]:
    raise ImpossibleError("not today")
    yield ""


async def test_a_seed_plans_the_same_rounds_every_time_and_another_seed_others() -> None:
    first, again, other = (list(itertools.islice(plan(seed), 50)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


async def test_every_family_comes_in_turn_and_every_kind_of_it() -> None:
    faults = list(itertools.islice(itertools.chain.from_iterable(plan(1)), 1_000))
    for begin in range(0, len(faults) - len(FAMILIES), len(FAMILIES)):
        assert {fault.family for fault in faults[begin : begin + len(FAMILIES)]} == {*FAMILIES}
    assert {fault.kind for fault in faults} == {*KINDS}


async def test_a_share_of_the_rounds_is_mixed_and_their_faults_overlap() -> None:
    sizes = Counter(len(faults) for faults in itertools.islice(plan(1, mixed=0.4), 1_000))
    assert {*sizes} == {1, 2, 3}
    assert 550 < sizes[1] < 650
    for faults in itertools.islice(plan(2, mixed=1, duration=(1, 3)), 100):
        assert faults[0].delay == 0
        assert all(0 <= fault.delay <= fault.duration <= 3 for fault in faults)
        assert all(fault.duration >= 1 for fault in faults)


async def test_faults_are_counted_by_kind_and_those_that_were_impossible_apart(cluster: Cluster) -> None:
    families = {"calm": {"harmless": harmless, "never": harmless}, "none": {"impossible": impossible}}
    schedule = Schedule(Scene(cluster), seed=1, families=families, mixed=0, duration=(0, 0))
    for _ in range(2):
        await schedule.round()
    assert schedule.counts.total() == 1
    assert {*schedule.counts} == {"harmless", "never", "impossible"}
    assert schedule.impossible == {"impossible": 1}


async def test_rounds_are_written_down_and_the_cluster_recovers_from_each(
    cluster: Cluster, scene: Scene, tmp_path: Path
) -> None:
    with Notebook(tmp_path, "faults") as notebook:
        schedule = Schedule(scene, seed=3, notebook=notebook, mixed=1, duration=SHORT, rest=SHORT)
        await schedule.run(seconds=5)
    assert len(schedule.injections) + schedule.impossible.total() >= 2 * len(schedule.rounds) > 0
    told = read(tmp_path).faults
    assert {(fault.kind, fault.target, fault.since) for fault in told} >= {
        (injection.kind, injection.victim, injection.began) for injection in schedule.injections
    }
    assert all(fault.until < math.inf for fault in told)
    for done in schedule.rounds:
        assert all(injection.began <= injection.healed <= done.recovered for injection in done.injections)
    await cluster.wait_until_healthy()


async def test_what_etcd_itself_does_not_bear_is_left_out_of_runs() -> None:
    for version, spared in (((3, 5, 2), {"leader killed", "follower killed"}), ((3, 5, 3), set[str]())):
        assert KINDS.keys() - {name for family in bearable(version).values() for name in family} == spared
