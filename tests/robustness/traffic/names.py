"""Which locks there are: a few that everybody wants, many that hardly anybody does, and some for one purpose each."""

import random

from tests.robustness.history import Part

HOT = ("hot/0", "hot/1", "hot/2")
"""Exclusive and shared, wanted by all."""
COLD = tuple(f"cold/{number}" for number in range(100))
SEMAPHORES = {"permits/few": 3, "permits/many": 10}
"""Limits by name."""
PAIR = ("pair/a", "pair/b")
"""Acquired one after the other in either order, so that circles form."""
ELECTION = "election"
LIMITED = "limited"
"""Held with a longest time, and beyond it."""
DELAYED = "delayed"
"""Held with a lock delay."""
BROKEN = "broken"
"""Taken away by an operator now and then."""
WATCHED = "hot/"
"""The prefix of the names that are watched."""


def any_name(rng: random.Random) -> str:
    """Mostly a hot one."""
    return rng.choice(HOT) if rng.random() < 0.7 else rng.choice(COLD)


def several(rng: random.Random) -> tuple[Part, ...]:
    """Names for one acquire, in a mix of modes."""
    names = rng.sample([*HOT, *rng.sample(COLD, 3)], rng.randint(2, 4))
    parts = [Part(name, rng.choice(["exclusive", "exclusive", "shared"])) for name in names]
    if rng.random() < 0.3:
        parts.append(some_permits(rng))
    return tuple(parts)


def some_permits(rng: random.Random) -> Part:
    """Some of the permits of a name; once in a while somebody has another limit in mind."""
    name, limit = rng.choice([*SEMAPHORES.items()])
    permits = rng.randint(1, min(limit, 4))
    return Part(name, "permits", permits, limit + 1 if rng.random() < 0.02 else limit)
