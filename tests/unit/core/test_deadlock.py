"""Deadlocks, by example: who waits for whom, and whether that can ever end."""

import pytest

from lockstream_server.core.changes import EntryPut, Revision
from lockstream_server.core.deadlock import Wait, find
from lockstream_server.core.model import Entry, EntryRecord, Mode, Terms
from lockstream_server.core.table import Table
from lockstream_server.store.keys import entry_id
from tests.support.history import foreign, opened

SESSION = 1


class Play:
    """A table written line by line: each acquire is a revision of its own."""

    def __init__(self) -> None:
        self.table = Table()
        self.table.fold(Revision(1, [opened(SESSION, 1), opened(2, 1)]))
        self.acquires = 0

    def acquire(
        self, owner: str, *names: str, mode: Mode = Mode.EXCLUSIVE, terms: Terms | None = None, session: int = SESSION
    ) -> Entry:
        """The owner acquires all of the names at once; returns the entry of the last."""
        self.fold(self.puts(owner, *names, mode=mode, terms=terms, session=session))
        entry = self.table.entry(names[-1], entry_id(session, self.acquires))
        assert entry is not None
        return entry

    def puts(
        self, owner: str, *names: str, mode: Mode = Mode.EXCLUSIVE, terms: Terms | None = None, session: int = SESSION
    ) -> list[EntryPut]:
        self.acquires += 1
        record = EntryRecord(self.acquires, mode, owner, 0.0, terms or Terms())
        key = entry_id(session, self.acquires)
        return [EntryPut(name, key, session, record, self.table.revision + 1) for name in names]

    def fold(self, puts: list[EntryPut]) -> None:
        self.table.fold(Revision(self.table.revision + 1, puts))

    def permits(self, owner: str, name: str, number: int) -> Entry:
        """The owner acquires some of three permits."""
        return self.acquire(owner, name, mode=Mode.PERMITS, terms=Terms(permits=number, limit=3))

    def circle(self, waiter: Entry) -> str:
        """The cycle in short: `x a y b` for x, who waits for a, which y has, who waits for b, which x has."""
        return " ".join(f"{wait.owner} {wait.name}" for wait in find(self.table, waiter))


def test_two_who_have_what_the_other_wants() -> None:
    play = Play()
    play.acquire("x", "a")
    play.acquire("y", "b", session=2)
    assert play.circle(play.acquire("x", "b")) == ""
    waiter = play.acquire("y", "a", session=2)
    assert find(play.table, waiter) == [Wait(2, "y", "a"), Wait(SESSION, "x", "b")]


def test_only_the_youngest_of_a_cycle_is_refused() -> None:
    play = Play()
    play.acquire("x", "a")
    play.acquire("y", "b")
    older = play.acquire("x", "b")
    assert play.circle(play.acquire("y", "a")) == "y a x b"
    assert play.circle(older) == ""


def test_of_two_who_close_a_cycle_in_one_revision_one_is_refused() -> None:
    play = Play()
    play.acquire("x", "a")
    play.acquire("y", "b")
    puts = [*play.puts("x", "b"), *play.puts("y", "a")]
    play.fold(puts)
    waiters = [play.table.entry(put.name, put.key) for put in puts]
    assert [play.circle(waiter) for waiter in waiters if waiter is not None] == ["", "y a x b"]


def test_three_in_a_circle() -> None:
    play = Play()
    for owner, name in ("x", "a"), ("y", "b"), ("z", "c"):
        play.acquire(owner, name)
    play.acquire("x", "b")
    play.acquire("y", "c")
    assert play.circle(play.acquire("z", "a")) == "z a x b y c"


def test_the_shortest_cycle_is_told() -> None:
    play = Play()
    for owner, name in ("x", "a"), ("y", "b"), ("z", "c"):
        play.acquire(owner, name)
    play.acquire("x", "b")
    play.acquire("y", "c", "a")
    assert play.circle(play.acquire("z", "a")) == "z a y c"


def test_a_chain_is_no_cycle() -> None:
    play = Play()
    for owner, name in ("x", "a"), ("y", "b"), ("z", "c"):
        play.acquire(owner, name)
    play.acquire("x", "b")
    assert play.circle(play.acquire("y", "c")) == ""


def test_whoever_waits_behind_a_deadlock_is_not_part_of_it() -> None:
    play = Play()
    for owner, name in ("x", "a"), ("y", "b"), ("z", "c"):
        play.acquire(owner, name)
    play.acquire("x", "b")
    play.acquire("y", "a")
    assert play.circle(play.acquire("z", "a")) == ""


def test_a_waiter_in_between_closes_a_cycle_as_a_holder_does() -> None:
    play = Play()
    play.acquire("x", "a")
    play.acquire("y", "b")
    play.acquire("z", "a")  # waits for x
    play.acquire("y", "a")  # waits for x, behind z
    assert play.circle(play.acquire("x", "b")) == "x b y a"


def test_a_writer_between_two_readers_closes_a_cycle() -> None:
    play = Play()
    play.acquire("x", "a", mode=Mode.SHARED)
    play.acquire("y", "b")
    play.acquire("z", "a")
    play.acquire("y", "a", mode=Mode.SHARED)  # could read with x, but for z who came before
    assert play.circle(play.acquire("x", "b")) == "x b y a z a"


def test_readers_do_not_wait_for_each_other() -> None:
    play = Play()
    play.acquire("x", "a", mode=Mode.SHARED)
    play.acquire("y", "b")
    play.acquire("y", "a", mode=Mode.SHARED)
    assert play.circle(play.acquire("x", "b")) == ""


def test_two_who_upgrade() -> None:
    play = Play()
    first = play.acquire("x", "a", mode=Mode.SHARED)
    second = play.acquire("y", "a", mode=Mode.SHARED)
    play.acquire("x", "a", mode=Mode.UPGRADE, terms=Terms(upgrades=first.token))
    waiter = play.acquire("y", "a", mode=Mode.UPGRADE, terms=Terms(upgrades=second.token))
    assert play.circle(waiter) == "y a x a"


def test_an_upgrade_does_not_wait_for_its_own_shared_hold() -> None:
    play = Play()
    first = play.acquire("x", "a", mode=Mode.SHARED)
    play.acquire("y", "a", mode=Mode.SHARED)
    assert play.circle(play.acquire("x", "a", mode=Mode.UPGRADE, terms=Terms(upgrades=first.token))) == ""


def test_one_of_several_who_have_permits_can_go_on() -> None:
    play = Play()
    play.permits("x", "p", 2)
    play.permits("z", "p", 1)
    play.acquire("y", "b")
    play.permits("y", "p", 1)  # z has enough of them, and waits for nothing
    assert play.circle(play.acquire("x", "b")) == ""


def test_nobody_who_has_permits_can_go_on() -> None:
    play = Play()
    play.permits("x", "p", 2)
    play.permits("z", "p", 1)
    play.acquire("y", "b")
    play.permits("y", "p", 1)
    play.acquire("z", "b")
    assert play.circle(play.acquire("x", "b")) == "x b y p"


def test_permits_awaited_side_by_side_are_no_cycle() -> None:
    """One waits behind the other for permits that both can have as soon as z goes."""
    play = Play()
    play.permits("z", "p", 3)
    play.acquire("y", "b")
    play.fold([*play.puts("x", "b"), *play.puts("x", "p", mode=Mode.PERMITS, terms=Terms(permits=1, limit=3))])
    assert play.circle(play.permits("y", "p", 1)) == ""


def test_acquires_of_several_names_never_wait_for_each_other_in_a_circle() -> None:
    play = Play()
    play.acquire("x", "a", "b")
    assert play.circle(play.acquire("y", "b", "a")) == ""
    assert play.circle(play.acquire("z", "a", "b", "c")) == ""


@pytest.mark.parametrize("owner", ["", "y"])
def test_a_session_as_a_whole_may_go_on_whatever_it_awaits(owner: str) -> None:
    play = Play()
    play.acquire("x", "a")
    play.acquire(owner, "b", session=2)
    play.acquire("x", "b")
    assert play.circle(play.acquire(owner, "a", session=2)) == ("y a x b" if owner else "")


def test_owners_of_one_name_in_two_sessions_are_two() -> None:
    play = Play()
    play.acquire("x", "a")
    play.acquire("x", "b", session=2)
    play.acquire("x", "b")
    assert find(play.table, play.acquire("x", "a", session=2)) == [Wait(2, "x", "a"), Wait(SESSION, "x", "b")]


def test_foreign_entries_are_never_part_of_a_cycle() -> None:
    play = Play()
    play.fold([foreign("a", "694d", 2)])
    play.acquire("x", "b")
    assert play.circle(play.acquire("x", "a")) == ""
