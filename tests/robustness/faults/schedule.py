"""Which fault comes when: drawn from a seed, alone and mixed, and written down as it happens."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.robustness.faults.fault import Fault, ImpossibleError, Scene
from tests.robustness.faults.kinds import FAMILIES
from tests.robustness.history import Healed, Impossible, Injected, Notebook, now

T = TypeVar("T")

RECOVERY_SECONDS = 60.0
"""A cluster whose faults are all healed is healthy by then."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come. Times are seconds."""

    family: str
    kind: str
    delay: float
    """From the beginning of its round."""
    duration: float
    seed: str
    """What its victim is drawn from."""


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault that was. Times are the history's."""

    kind: str
    victim: str
    began: float
    healed: float
    """When its harm ended; who was hit may need longer."""


@dataclass(frozen=True, slots=True)
class Round:
    """Faults that overlapped, and the recovery from all of them."""

    injections: Sequence[Injection]
    recovered: float
    """When the cluster was healthy again; a time of the history's."""


class Schedule:
    """Rounds of faults, each followed by a recovery and by rest.

    What comes, whom it hits and for how long follows from the seed alone; when it comes also from how long recoveries
    take. Every family is drawn once before any is drawn again, and so is every kind within its family.

    Args:
        scene: what the faults happen to.
        seed: what everything is drawn from.
        notebook: where the history of faults is written; None means nowhere.
        families: the kinds, by family and name.
        mixed: the share of rounds with two or three faults.
        duration: shortest and longest time that a fault lasts, in seconds.
        rest: shortest and longest time after a recovery in which nothing happens, in seconds.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        seed: int,
        notebook: Notebook | None = None,
        families: Mapping[str, Mapping[str, Fault]] = FAMILIES,
        mixed: float = 0.4,
        duration: tuple[float, float] = (0.5, 5.0),
        rest: tuple[float, float] = (0.5, 2.0),
    ) -> None:
        self._scene = scene
        self._notebook = notebook
        self._families = families
        self._rest = rest
        self._plan = plan(seed, families, mixed=mixed, duration=duration)
        self._rng = random.Random(seed)
        self._numbers = itertools.count(1)
        self.rounds: list[Round] = []
        """What happened so far."""
        self.impossible: Counter[str] = Counter()
        """How often each kind could not be injected as things were."""

    @property
    def injections(self) -> list[Injection]:
        """Every fault so far, by round."""
        return [injection for each in self.rounds for injection in each.injections]

    @property
    def counts(self) -> Counter[str]:
        """How many faults of each kind there were; a kind that there were none of is counted as 0."""
        counts = Counter({name: 0 for family in self._families.values() for name in family})
        counts.update(injection.kind for injection in self.injections)
        return counts

    async def run(self, seconds: float) -> None:
        """Do rounds until so much time has passed; the last one is finished.

        Raises:
            TimeoutError: the cluster did not recover in time.
            ProcessEndedError: a process ended that nobody had killed.
        """
        end = now() + seconds
        while now() < end:
            await self.round()
            await asyncio.sleep(self._rng.uniform(*self._rest))

    async def round(self) -> Round:
        """Inject the faults that come next, heal them, and wait until the cluster has recovered; raises as `run`."""
        planned = next(self._plan)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._inject(each)) for each in planned]
        for client in self._scene.clients:
            await client.start()
        await self._scene.cluster.wait_until_healthy(RECOVERY_SECONDS)
        done = Round([injection for task in tasks if (injection := task.result()) is not None], now())
        self.rounds.append(done)
        return done

    async def _inject(self, planned: Planned) -> Injection | None:
        await asyncio.sleep(planned.delay)
        fault = self._families[planned.family][planned.kind]
        number = next(self._numbers)
        began = now()
        try:
            async with fault(self._scene, random.Random(planned.seed)) as victim:
                self._write(Injected(began, number, planned.kind, victim))
                await asyncio.sleep(planned.duration)
        except ImpossibleError as error:
            self.impossible[planned.kind] += 1
            self._write(Impossible(now(), planned.kind, str(error)))
            return None
        finally:
            self._write(Healed(now(), number))
        return Injection(planned.kind, victim, began, now())

    def _write(self, record: Injected | Healed | Impossible) -> None:
        if self._notebook is not None:
            self._notebook.write(record)


def plan(
    seed: int,
    families: Mapping[str, Mapping[str, Fault]] = FAMILIES,
    *,
    mixed: float = 0.4,
    duration: tuple[float, float] = (0.5, 5.0),
) -> Iterator[list[Planned]]:
    """The rounds that follow from a seed, without end. A seed's rounds are always the same."""
    rng = random.Random(seed)
    drawn_families = _drawn(rng, [*families])
    drawn_kinds = {family: _drawn(rng, [*kinds]) for family, kinds in families.items()}
    for number in itertools.count():
        faults = rng.choice([2, 3]) if rng.random() < mixed else 1
        planned = []
        for place in range(faults):
            family = next(drawn_families)
            lasting = rng.uniform(*duration)
            delay = rng.uniform(0, lasting) if place else 0.0
            planned.append(Planned(family, next(drawn_kinds[family]), delay, lasting, f"{seed}/{number}/{place}"))
        yield planned


def _drawn(rng: random.Random, things: Sequence[T]) -> Iterator[T]:
    """Everything once in any order, and then again."""
    while True:
        yield from rng.sample(things, len(things))
