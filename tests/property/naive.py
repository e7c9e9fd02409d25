"""The rules of locks, written as plainly as they can be, to hold the code against."""

from collections.abc import Iterable, Mapping, Sequence

from lockstream_server.core.changes import EntryPut
from lockstream_server.core.model import Mode

Owner = tuple[int, str]


def in_order(puts: Iterable[EntryPut]) -> dict[str, list[EntryPut]]:
    """Each lock's entries as they queue: by the transaction which wrote them."""
    locks: dict[str, list[EntryPut]] = {}
    for put in sorted(puts, key=lambda put: (put.token, put.key)):
        locks.setdefault(put.name, []).append(put)
    return locks


def holds(queue: Sequence[EntryPut]) -> list[bool]:
    """Which entries of a queue hold, computed from nothing but what stands in it."""
    held: list[bool] = []
    for place, put in enumerate(queue):
        held.append(all(held) and may_stand_beside(queue[:place], put))
    return held


def may_stand_beside(before: Sequence[EntryPut], put: EntryPut) -> bool:
    """Whether all of these may hold together."""
    terms = put.record.terms
    if not before:
        return True
    match put.record.mode:
        case Mode.EXCLUSIVE:
            return False
        case Mode.SHARED:
            return all(other.record.mode is Mode.SHARED for other in before)
        case Mode.PERMITS:
            same = all(
                other.record.mode is Mode.PERMITS and other.record.terms.limit == terms.limit for other in before
            )
            return same and sum(other.record.terms.permits for other in [*before, put]) <= terms.limit
        case Mode.UPGRADE:
            return [other.token for other in before] == [terms.upgrades]


def owner_of(put: EntryPut) -> Owner | None:
    """Whose entry it is, if it is of somebody who can be deadlocked."""
    return (put.session, put.record.owner) if put.session is not None and put.record.owner else None


def deadlocked(locks: Mapping[str, Sequence[EntryPut]], first: Sequence[int] = ()) -> set[Owner]:
    """Owners whom no order of releases ever lets go on.

    Whoever can be waited for without being an owner is taken to go. `first` says which of the free ones goes at each
    step; it must not matter.
    """
    queues = {name: [put for put in queue if owner_of(put) is not None] for name, queue in locks.items()}
    choices = iter(first)
    while True:
        standing = {owner: True for queue in queues.values() for put in queue if (owner := owner_of(put)) is not None}
        for queue in queues.values():
            for put, held in zip(queue, holds(queue), strict=True):
                if not held and (owner := owner_of(put)) is not None:
                    standing[owner] = False
        free = [owner for owner, goes_on in standing.items() if goes_on]
        if not free:
            return set(standing)
        goes = free[next(choices, 0) % len(free)]
        queues = {name: [put for put in queue if owner_of(put) != goes] for name, queue in queues.items()}


def waits_for(locks: Mapping[str, Sequence[EntryPut]], owner: Owner, name: str, other: Owner) -> bool:
    """Whether the owner waits on the name behind the other, who is in its way there."""
    queue = locks.get(name, ())
    return any(
        owner_of(put) == owner
        and not held
        and any(
            owner_of(before) == other and {put.record.mode, before.record.mode} != {Mode.SHARED}
            for before in queue[:place]
        )
        for place, (put, held) in enumerate(zip(queue, holds(queue), strict=True))
    )
