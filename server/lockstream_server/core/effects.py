"""What follows from folding a revision: who holds, who waits, who is gone, and why."""

from enum import Enum
from typing import NamedTuple

from lockstream_server.core.model import Entry, EntryRecord, EvictionRecord


class Cause(Enum):
    """Why an entry went away, as far as etcd's history tells."""

    SESSION_ENDED = "session ended"
    DELETED = "deleted"
    """By its own session or behind its back; only the session knows which."""
    EVICTED = "evicted"


class Granted(NamedTuple):
    """The entry holds the lock from this revision on."""

    entry: Entry


class Queued(NamedTuple):
    """The entry is new and has to wait."""

    entry: Entry


class Removed(NamedTuple):
    """The entry is gone; `entry.granted` tells whether it held."""

    entry: Entry
    cause: Cause
    eviction: EvictionRecord | None
    """By what, if it was evicted."""


class Rewritten(NamedTuple):
    """The entry says something else than before, at the same place and with the same token."""

    entry: Entry
    before: EntryRecord


class Attached(NamedTuple):
    """The session's record was written at this revision: whoever attached it at an earlier one is superseded."""

    session: int
    attached_at: int


class Ended(NamedTuple):
    """The session's record is gone. Comes before the `Removed` of its entries."""

    session: int
    eviction: EvictionRecord | None
    """By what, if somebody ended it."""


Effect = Granted | Queued | Removed | Rewritten | Attached | Ended
