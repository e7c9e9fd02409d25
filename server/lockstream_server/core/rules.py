"""The grant rule: who may hold, as a function of the order of the queue and of nothing else.

A queue is granted from its head: its granted entries are always a prefix of it, and an entry is looked at only when
everything before it is granted. Each mode has one rule, which says whether the first entry that is not granted yet may
join those that are. Rules must be monotone: what a rule admits it admits for as long as the entry stays, so
that a server which lags can grant late but never wrongly.
"""

from collections.abc import Callable, Mapping, Sequence

from lockstream_server.core.model import Entry, Mode


def exclusive(holders: Sequence[Entry], _candidate: Entry) -> bool:
    """Granted at the head, alone."""
    return not holders


def shared(holders: Sequence[Entry], _candidate: Entry) -> bool:
    """Granted while every entry before it is shared and granted.

    Looking at one holder is enough: an exclusive one is alone, and a shared one had only shared ones before it.
    """
    return not holders or holders[0].record.mode is Mode.SHARED


RULES: Mapping[Mode, Callable[[Sequence[Entry], Entry], bool]] = {
    Mode.EXCLUSIVE: exclusive,
    Mode.SHARED: shared,
}
