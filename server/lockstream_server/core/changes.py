"""What etcd's history says, one revision at a time: puts and deletions of our keys."""

from collections.abc import Sequence
from typing import NamedTuple

from lockstream_server.core.model import EntryRecord, EvictionRecord, SessionRecord


class EntryPut(NamedTuple):
    """An entry's key was written. `token` is the revision that created it, whichever revision wrote it last."""

    name: str
    key: str
    session: int | None
    """None for a foreign entry."""
    record: EntryRecord
    token: int


class EntryDeleted(NamedTuple):
    """An entry's key was deleted; that of a foreign entry maybe because its lease ended."""

    name: str
    key: str


class SessionPut(NamedTuple):
    """A session record was written, by an open or a resume, at revision `attached_at`."""

    session: int
    record: SessionRecord
    attached_at: int


class SessionDeleted(NamedTuple):
    """A session record was deleted: a server ended the session, or its lease ended."""

    session: int


class EvictionPut(NamedTuple):
    """The record of an eviction was written, in the revision that deleted what was evicted."""

    key: str
    record: EvictionRecord


class EvictionDeleted(NamedTuple):
    """The record of an eviction grew old, or made room for newer ones."""

    key: str


Change = EntryPut | EntryDeleted | SessionPut | SessionDeleted | EvictionPut | EvictionDeleted


class Revision(NamedTuple):
    """Everything under our prefix that one etcd revision changed, in the order of its events."""

    number: int
    changes: Sequence[Change]


class Snapshot(NamedTuple):
    """Everything under our prefix at one revision."""

    revision: int
    entries: Sequence[EntryPut]
    sessions: Sequence[SessionPut]
    evictions: Sequence[EvictionPut] = ()
