"""Deadlocks: nobody is called deadlocked who is not, and whoever is not refused goes on in the end."""

from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from lockstream_server.core import deadlock
from lockstream_server.core.changes import EntryDeleted, EntryPut, Revision, Snapshot
from lockstream_server.core.deadlock import Wait
from lockstream_server.core.effects import Queued
from lockstream_server.core.model import EntryRecord, Mode, Terms
from lockstream_server.core.table import Table
from lockstream_server.store.keys import entry_id
from tests.property.naive import Owner, deadlocked, holds, in_order, owner_of, waits_for
from tests.support.history import opened

OWNERS = [(1, "x"), (1, "y"), (2, "x"), (2, "y"), (1, "")]
LIMIT = 3
Age = tuple[int, int, int]

MODES = st.one_of(
    st.sampled_from([Mode.EXCLUSIVE, Mode.SHARED]),
    st.integers(1, LIMIT),
)
ACQUIRES = st.tuples(
    st.sampled_from(OWNERS),
    st.dictionaries(st.sampled_from("abcd"), MODES, min_size=1, max_size=3),
    st.booleans(),
)
LEAVES = st.integers(0, 99)
STEPS = st.lists(st.lists(st.one_of(ACQUIRES, ACQUIRES, LEAVES), min_size=1, max_size=3), max_size=14)
Step = tuple[Owner, dict[str, Mode | int], bool] | int


class World:
    """Owners who acquire and leave. What is refused as a deadlock is withdrawn, as servers do."""

    def __init__(self) -> None:
        self.revision = 1
        self.acquires = 0
        self.entries: dict[tuple[str, str], EntryPut] = {}
        self.table = Table()
        self.sessions = [opened(1, 1), opened(2, 1)]
        self.table.fold(Revision(1, self.sessions))
        self.cycles: list[list[Wait]] = []

    def commit(self, steps: list[Step]) -> None:
        """One revision, then the withdrawal of its victims."""
        self.revision += 1
        known = dict(self.entries)
        gone = [key for key in sorted(known) if key in self._leaving(steps)]
        puts: list[EntryPut] = []
        for step in steps:
            if not isinstance(step, int):
                puts += self._acquire(step, taken={put.name for put in puts})
        for key in gone:
            del self.entries[key]
        self.entries |= {(put.name, put.key): put for put in puts}
        effects = self.table.fold(Revision(self.revision, [*(EntryDeleted(*key) for key in gone), *puts]))
        victims = {
            effect.entry.record.acquire for effect in effects if isinstance(effect, Queued) and self._judge(effect)
        }
        self._withdraw(victims)

    def _leaving(self, steps: list[Step]) -> set[tuple[str, str]]:
        """The keys of acquires that end: whole acquires, waiting or held."""
        acquires = sorted({put.record.acquire for put in self.entries.values()})
        chosen = {acquires[step % len(acquires)] for step in steps if isinstance(step, int) and acquires}
        return {key for key, put in self.entries.items() if put.record.acquire in chosen}

    def _acquire(self, step: tuple[Owner, dict[str, Mode | int], bool], taken: set[str]) -> list[EntryPut]:
        """The entries of one acquire, but for what its owner has already and what another creates at once."""
        (session, owner), parts, upgrades = step
        self.acquires += 1
        key = entry_id(session, self.acquires)
        puts = []
        for name, mode in parts.items():
            own = [put for put in self.entries.values() if put.name == name and owner_of(put) == (session, owner)]
            if name not in taken and not own:
                record = EntryRecord(self.acquires, Mode.PERMITS, owner)
                if isinstance(mode, int):
                    record = record._replace(terms=Terms(permits=mode, limit=LIMIT))
                else:
                    record = record._replace(mode=mode)
                puts.append(EntryPut(name, key, session, record, self.revision))
        name = next(iter(parts))
        shared = [put for put in self.entries.values() if put.name == name and owner_of(put) == (session, owner)]
        if upgrades and not puts and name not in taken and [put.record.mode for put in shared] == [Mode.SHARED]:
            [hold] = shared
            if self._held(hold):
                record = EntryRecord(self.acquires, Mode.UPGRADE, owner, 0.0, Terms(upgrades=hold.token))
                puts.append(EntryPut(name, key, session, record, self.revision))
        return puts

    def _held(self, put: EntryPut) -> bool:
        queue = in_order(self.entries.values())[put.name]
        return holds(queue)[queue.index(put)]

    def _judge(self, effect: Queued) -> bool:
        """Whether the wait is refused, after comparing that with the model."""
        waiter = effect.entry
        cycle = deadlock.find(self.table, waiter)
        me = (waiter.session or 0, waiter.record.owner)
        age = (waiter.token, waiter.session or 0, waiter.record.acquire)
        locks = in_order(put for put in self.entries.values() if age_of(put) <= age)
        stuck = deadlocked(locks)
        assert bool(cycle) is comes_round(locks, me, stuck), f"{waiter}: {cycle}, but stuck are {stuck}"
        if not cycle:
            return False
        owners = [(wait.session, wait.owner) for wait in cycle]
        assert owners[0] == me
        assert len(set(owners)) == len(owners) > 1
        for wait, owner, following in zip(cycle, owners, [*owners[1:], owners[0]], strict=True):
            assert owner in stuck
            assert waits_for(locks, owner, wait.name, following)
        assert deadlock.find(self._read_anew(), waiter) == cycle, "every server finds the same"
        self.cycles.append(cycle)
        return True

    def _read_anew(self) -> Table:
        """The table of a server that has just started."""
        table = Table()
        table.fold(table.difference(Snapshot(self.revision, [*self.entries.values()], self.sessions)))
        return table

    def _withdraw(self, acquires: set[int]) -> None:
        gone = [key for key, put in self.entries.items() if put.record.acquire in acquires]
        for key in gone:
            del self.entries[key]
        self.revision += 1
        self.table.fold(Revision(self.revision, [EntryDeleted(*key) for key in gone]))


def age_of(put: EntryPut) -> Age:
    """Waits come one after another, those of one revision by session and acquire."""
    return put.token, put.session or 0, put.record.acquire


def comes_round(locks: dict[str, list[EntryPut]], start: Owner, stuck: set[Owner]) -> bool:
    """Whether the owner waits for itself over others who are stuck."""
    steps = {
        (one, other)
        for one, other in product(stuck, repeat=2)
        if one != other and any(waits_for(locks, one, name, other) for name in locks)
    }
    reached = {other for one, other in steps if one == start}
    while more := {other for one, other in steps if one in reached} - reached:
        reached |= more
    return start in reached


@given(STEPS, st.lists(st.integers(0, 99)))
def test_whoever_is_not_refused_goes_on_in_the_end(steps: list[list[Step]], first: list[int]) -> None:
    world = World()
    for each in steps:
        world.commit(each)
        locks = in_order(world.entries.values())
        assert deadlocked(locks) == deadlocked(locks, first) == set()


def busy(chance: Random) -> list[list[Step]]:
    """Owners who mostly want one more lock each: what deadlocks are made of."""

    def step() -> Step:
        if chance.random() < 0.2:
            return chance.randrange(99)
        modes = [Mode.EXCLUSIVE] * 4 + [Mode.SHARED] * 4 + [1, 2, LIMIT]
        names = chance.sample("abcd", chance.choice([1, 1, 1, 1, 2, 3]))
        return chance.choice(OWNERS), {name: chance.choice(modes) for name in names}, chance.random() < 0.5

    return [[step() for _ in range(chance.choice([1, 1, 2, 3]))] for _ in range(25)]


def test_deadlocks_of_every_kind_are_found_and_broken() -> None:
    cycles = []
    for seed in range(150):
        world = World()
        for steps in busy(Random(seed)):
            world.commit(steps)
            assert not deadlocked(in_order(world.entries.values()))
        cycles += world.cycles
    assert {len(cycle) for cycle in cycles} >= {2, 3}
    assert any({wait.session for wait in cycle} == {1, 2} for cycle in cycles)
    assert len(cycles) > 300
