"""The grant rule: who may hold, as a function of the order of the queue and of nothing else.

A queue is granted from its head: its granted entries are always a prefix of it, and an entry is looked at only when
everything before it is granted. Each mode has one rule, which says whether the first entry that is not granted yet may
join those that are. Rules must be monotone: what a rule admits it admits for as long as the entry stays, so
that a server which lags can grant late but never wrongly.

An entry may also be refused when it comes: by what stands before it then, and by nothing that comes later.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from lockstream_server.core.errors import Reason
from lockstream_server.core.model import Entry, Mode


class Holders(NamedTuple):
    """Those who hold, as far as the rules look at them."""

    number: int
    first: Entry
    last: Entry
    permits: int
    """The permits they take, all together."""


def exclusive(_holders: Holders, _candidate: Entry) -> bool:
    """Granted at the head, alone."""
    return False


def shared(holders: Holders, _candidate: Entry) -> bool:
    """Granted while every entry before it is shared and granted.

    Looking at the last one is enough: it was granted because all before it were shared.
    """
    return holders.last.record.mode is Mode.SHARED


def permits(holders: Holders, candidate: Entry) -> bool:
    """Granted while every entry before it takes permits of the same limit, and what is left of them is enough."""
    asked = candidate.record.terms
    last = holders.last.record
    return (
        last.mode is Mode.PERMITS and last.terms.limit == asked.limit and holders.permits + asked.permits <= asked.limit
    )


def upgrade(holders: Holders, candidate: Entry) -> bool:
    """Granted when the shared hold it is for is all that is before it."""
    return holders.number == 1 and holders.first.token == candidate.record.terms.upgrades


RULES: Mapping[Mode, Callable[[Holders, Entry], bool]] = {
    Mode.EXCLUSIVE: exclusive,
    Mode.SHARED: shared,
    Mode.PERMITS: permits,
    Mode.UPGRADE: upgrade,
}
"""Whether an entry may join those who hold. At the head, with nobody before it, every entry is granted."""


def refusal(before: Sequence[Entry], candidate: Entry) -> tuple[Reason, Entry] | None:
    """Why a new entry can never be granted, or must not wait, behind those before it; and because of whom.

    Of entries that take permits the first one says how many there are: later ones that say otherwise are refused
    themselves, and stand in the queue only until they are deleted.
    """
    mode = candidate.record.mode
    if mode is Mode.PERMITS:
        first = next((entry for entry in before if entry.record.mode is Mode.PERMITS), None)
        if first is not None and first.record.terms.limit != candidate.record.terms.limit:
            return Reason.LIMIT_MISMATCH, first
    elif mode is Mode.UPGRADE:
        for entry in before:
            if entry.record.mode is not Mode.SHARED:
                return Reason.UPGRADE_CONFLICT, entry
    return None
