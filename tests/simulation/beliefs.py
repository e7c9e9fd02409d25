"""What clients believe to hold, checked after every step of every client.

A belief is what the library says: `lock.held`, which goes by the client's own clock. It is looked at when somebody new
believes something, which is the only moment at which two beliefs can begin to be at odds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import lockstream
from lockstream_server.core.changes import EntryPut
from lockstream_server.core.model import Mode
from tests.simulation.trace import Trace


@dataclass(eq=False)
class Belief:
    """One lock that a client was handed."""

    who: str
    lock: lockstream.Lock
    permits: dict[str, tuple[int, int]]
    """Of each name that is a semaphore: how many permits, and the limit."""
    shared: frozenset[str]
    """The names that others may share."""
    token: int
    excused: bool
    """Whether it may outlast its hold: with a grace shorter than the TTL nobody promises otherwise."""
    over: bool = False
    values: frozenset[bytes] = frozenset((b"",))
    """What it may say of itself: what was acknowledged last, and what is being said."""
    downgraded: bool = False
    """Whether it was made shared, and that was acknowledged."""

    def excludes(self, name: str, other: "Belief") -> bool:
        """Whether not both may be true at a time, for a name that both have."""
        if self.reads(name) and other.reads(name):
            return False
        mine, theirs = self.permits.get(name), other.permits.get(name)
        return mine is None or theirs is None or mine[1] != theirs[1]

    def reads(self, name: str) -> bool:
        """Whether it is a shared hold of the name."""
        return self.lock.shared if len(self.lock.names) == 1 else name in self.shared

    def __repr__(self) -> str:
        return f"{self.who} {self.lock!r}"


class Beliefs:
    """All that is believed in the world."""

    def __init__(self, trace: Trace, fail: Callable[[str], None]) -> None:
        self._trace = trace
        self._fail = fail
        self._by_name: dict[str, list[Belief]] = {}
        self._newest: dict[str, tuple[int, int]] = {}
        """Of each name the highest token handed out, and the highest that was not shared."""
        self.taken: set[int] = set()
        """Tokens of holds that were taken from their holders, who can only hear of that afterwards."""
        self.grants = 0

    def handed(self, belief: Belief) -> None:
        """A client was handed a lock, or its lock became exclusive."""
        if not belief.lock.held:
            return
        self.grants += 1
        if self._trace.wanted:
            self._trace.note(belief.who, f"believes to hold {belief.lock!r}")
        for name in belief.lock.names:
            others = self._by_name.setdefault(name, [])
            for other in [*others]:
                if other is not belief:
                    self._compare(name, belief, other)
                    if other.over:
                        others.remove(other)
            if belief not in others:
                others.append(belief)
            self._check_permits(name, belief)
            self._check_token(name, belief)

    def look(self, belief: Belief) -> None:
        """A step of its client is over: what is not believed any more must not be believed again."""
        held = belief.lock.held
        if belief.over and held:
            self._fail(f"{belief} is believed again after it was over")
        belief.over = not held

    def dropped(self, belief: Belief) -> None:
        """Its client is gone, or has given it up."""
        belief.over = True
        for name in belief.lock.names:
            others = self._by_name.get(name, [])
            if belief in others:
                others.remove(belief)

    def removed(self, put: EntryPut) -> None:
        """An entry is deleted in etcd: from then on others may be granted, so nobody may believe to hold it still."""
        for belief in self._by_name.get(put.name, ()):
            if belief.lock.token == put.token and belief.lock.held and not self._excused(belief):
                self._fail(f"{belief} is gone from etcd, and is believed still")

    def compare(self, standing: Iterable[EntryPut]) -> None:
        """What was acknowledged of a hold stands in etcd."""
        entries = {(put.name, put.token): put.record for put in standing}
        for believed in self._by_name.values():
            for belief in believed:
                record = entries.get((belief.lock.name, belief.lock.token))
                if record is None or belief.over:
                    continue
                if record.terms.value not in belief.values:
                    self._fail(f"{belief} says {record.terms.value!r} in etcd, and was told {belief.values}")
                if belief.downgraded and record.mode is not Mode.SHARED:
                    self._fail(f"{belief} was downgraded, and is {record.mode.value} in etcd")

    def _compare(self, name: str, new: Belief, old: Belief) -> None:
        self.look(old)
        if old.over or not new.excludes(name, old):
            return
        if not (self._excused(old) or self._excused(new)):
            self._fail(f"{name!r} is believed to be held by {new} and by {old}")

    def _check_permits(self, name: str, belief: Belief) -> None:
        if name not in belief.permits:
            return
        limit = belief.permits[name][1]
        believed = [other for other in self._by_name[name] if other.lock.held and name in other.permits]
        taken = sum(other.permits[name][0] for other in believed)
        if taken > limit and not any(map(self._excused, believed)):
            self._fail(f"{taken} permits of {name!r} are believed to be held, of {limit}: {believed}")

    def _check_token(self, name: str, belief: Belief) -> None:
        """Tokens grow from grant to grant; only of those who hold together may the later one hear of it first."""
        token = belief.lock.token
        together = belief.reads(name) or name in belief.permits
        highest, highest_alone = self._newest.get(name, (0, 0))
        floor = highest_alone if together else highest
        if token < floor and not self._excused(belief):
            self._fail(f"{belief} was handed out after token {floor}")
        self._newest[name] = max(highest, token), highest_alone if together else max(highest_alone, token)

    def _excused(self, belief: Belief) -> bool:
        return belief.excused or belief.lock.token in self.taken or belief.token in self.taken
