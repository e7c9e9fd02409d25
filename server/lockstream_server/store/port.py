"""What a store promises: guarded writes on one side, one ordered history on the other.

A proposal asks for one change. It is guarded by the attachment of its session, so neither a session that ended nor a
server that was superseded can write anything. An eviction is guarded by the entry or the record that it is to end. A
store may repeat a proposal whose outcome it does not know: all of them are safe to repeat. The history that a store
feeds back is the only thing that changes a lock table.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.core.model import EntryRecord, EvictionRecord, SessionRecord

MAX_PARTS = 100
"""Names in one acquire: what fits into one transaction of etcd beside others."""


class Attachment:
    """One attachment of a session to this server; the guard of everything the session writes from here.

    `revision` is the one that wrote the session record. `live` goes false when the session ends here; a store then
    stops repeating its proposals, but for the deletion of its record.
    """

    __slots__ = ("live", "revision", "session")

    def __init__(self, session: int, revision: int) -> None:
        self.session = session
        self.revision = revision
        self.live = True

    def __repr__(self) -> str:
        return f"Attachment({self.session:016x} at {self.revision}{'' if self.live else ', ended'})"


class PutEntry(NamedTuple):
    """Queue an acquire. The verdict is GRANTED, QUEUED, WOULD_BLOCK, EXISTS or REFUSED."""

    attachment: Attachment
    name: str
    slot: int
    """Tells apart the entries which the session has on this name."""
    record: EntryRecord
    only_if_free: bool
    """Write nothing unless the lock has no entry at all."""


class Part(NamedTuple):
    """One entry of an acquire that has several."""

    name: str
    slot: int
    record: EntryRecord


class PutEntries(NamedTuple):
    """Queue an acquire of several names, all in one revision. The verdict is QUEUED, WOULD_BLOCK, EXISTS or REFUSED.

    QUEUED says nothing of what the entries are worth, which is for the fold to say of each.
    """

    attachment: Attachment
    parts: Sequence[Part]
    """At most `MAX_PARTS`, each of another name."""
    only_if_free: bool
    """Write nothing unless none of the locks has any entry."""


class RewriteEntry(NamedTuple):
    """Change what an entry says, at its place. The verdict is WRITTEN, EXISTS, ABSENT or REFUSED.

    EXISTS says that something else was written since, at the revision of the outcome. With `unwritten_since` a first
    attempt that lands late cannot undo what was written after the second one.
    """

    attachment: Attachment
    name: str
    slot: int
    token: int
    """Only the entry created at this revision."""
    unwritten_since: int
    """Only if its last write is not after this revision."""
    record: EntryRecord


class DeleteEntry(NamedTuple):
    """Take an acquire out of its queue. The verdict is DELETED, ABSENT or REFUSED."""

    attachment: Attachment
    name: str
    slot: int
    token: int
    """Only the entry created at this revision."""


class Evict(NamedTuple):
    """Take any entry out of its queue, whoever wrote it.

    The verdict is DELETED, ABSENT, or REFUSED when the lease for the record is gone.
    """

    name: str
    key: str
    """The last part of the entry's key."""
    token: int
    """Only the entry created at this revision."""
    eviction: EvictionRecord | None
    """To be recorded in the same revision, under its lease; None for an entry whose session is over."""
    lease: int


class CreateSession(NamedTuple):
    """Record a new session under its lease. The verdict is WRITTEN or REFUSED (the lease is gone already)."""

    session: int
    record: SessionRecord


class TakeOverSession(NamedTuple):
    """Attach a session anew, if nobody else did since its record was read. The verdict is WRITTEN or REFUSED."""

    session: int
    seen: int
    """The revision that wrote the record which was read."""
    record: SessionRecord


class EvictSession(NamedTuple):
    """End any session for good, before its lease is revoked. The verdict is as that of `Evict`."""

    session: int
    seen: int
    """The revision that wrote the record which was read."""
    eviction: EvictionRecord
    lease: int


class DeleteSession(NamedTuple):
    """End a session for good, before its lease is revoked. The verdict is DELETED, ABSENT or REFUSED."""

    attachment: Attachment


EntryProposal = PutEntry | PutEntries | RewriteEntry | DeleteEntry | Evict
SessionProposal = CreateSession | TakeOverSession | DeleteSession | EvictSession
Proposal = EntryProposal | SessionProposal


class Verdict(Enum):
    """What became of a proposal."""

    GRANTED = "granted"
    """Written, into an empty queue: held from this revision on, which is its token."""
    QUEUED = "queued"
    """Written, behind others. What it is worth is for the fold to say."""
    WOULD_BLOCK = "would block"
    """Not written, because it was to be written only into an empty queue."""
    EXISTS = "exists"
    """Not written: there is such an entry already; the outcome's revision is the one that created it, or changed it."""
    DELETED = "deleted"
    ABSENT = "absent"
    """There was no such entry or record to delete."""
    WRITTEN = "written"
    """The record stands as proposed; the outcome's revision is the one that wrote it."""
    REFUSED = "refused"
    """Not written: the session is not attached here (any more), and the fold tells whether it ended or moved. Or the
    lease of what was to be written is gone."""
    UNKNOWN = "unknown"
    """The session ended here, or the store was given up on, before the outcome was known."""
    FAILED = "failed"
    """The store refused it for a reason of its own, such as missing permissions; nothing was written."""
    NO_SPACE = "no space"
    """The store is full, and takes nothing but deletions until an operator has made room; nothing was written."""


class Outcome(NamedTuple):
    """The verdict on a proposal and the revision of the history at which it was reached."""

    verdict: Verdict
    revision: int


Settle = Callable[[Outcome], None]
"""Called exactly once for each proposal, never from within `propose`."""


class Lease(NamedTuple):
    """A lease as granted."""

    session: int
    """Its identifier, more than zero."""
    ttl: int
    """Seconds."""


class Recorded(NamedTuple):
    """A session record as it stands."""

    record: SessionRecord
    attached_at: int
    """The revision that wrote it."""


class FutureRevisionError(Exception):
    """The store has not reached that revision."""


class Feed(Protocol):
    """Who follows a store's history."""

    @property
    def revision(self) -> int:
        """The newest revision taken in; the history goes on from there."""

    def fold(self, revision: Revision) -> None:
        """Take in the next revision which changed anything."""

    def resync(self, snapshot: Snapshot) -> None:
        """Take in everything at once: at the start, and when the history in between is gone."""


class Store(Protocol):
    """The one source of truth.

    Its coroutines raise LockError with STORE_UNAVAILABLE when the store does not answer in time.
    """

    def propose(self, proposal: Proposal, settle: Settle) -> None:
        """Send a proposal on its way and return at once.

        Raises LockError (QUOTA_EXCEEDED) for a PutEntry or PutEntries when too many wait. What frees something is
        always taken.
        """

    async def grant_lease(self, ttl: int) -> Lease:
        """Make a lease of at least this many seconds."""

    async def revoke_lease(self, session: int) -> None:
        """End a lease and delete every key under it, in one revision. One that is gone already is fine."""

    def renew_lease(self, session: int, confirm: Callable[[bool], None]) -> None:
        """Ask for the lease to be renewed and return at once.

        `confirm` is called with the answer to a request sent after this call: true when the lease was renewed, false
        when it is gone. Without an answer it is not called.
        """

    async def read_session(self, session: int) -> Recorded | None:
        """The record of a session, linearizably."""

    async def read_lock(self, name: str) -> Snapshot:
        """Every entry of one lock, linearizably; without sessions."""

    async def follow(self, feed: Feed) -> None:
        """Feed the history until cancelled: a snapshot, then every revision in order, none left out."""

    async def read_state(self, revision: int) -> Snapshot:
        """Everything at an earlier revision.

        Raises LockError (HISTORY_COMPACTED) when that is gone, FutureRevisionError when it is yet to come.
        """

    def read_history(self, after: int, until: int) -> AsyncGenerator[Revision, None]:
        """Every revision after `after` which changed anything, in order, up to `until`, which the store has reached.

        Close it when you leave it early. Raises LockError (HISTORY_COMPACTED) when a part of it is gone.
        """

    @property
    def lag(self) -> float:
        """Seconds for which the feed has not been known to be current; infinite before the first snapshot."""

    @property
    def transactions(self) -> int:
        """Transactions committed so far."""

    @property
    def proposals(self) -> int:
        """Proposals taken in so far."""
