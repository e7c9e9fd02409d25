"""The store in process: the same promises as etcd's, kept by a dictionary.

It serves `local:` clients and fast tests. Several servers may share one, each following it with a feed of its own.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lockstream_server.core.changes import (
    Change,
    EntryDeleted,
    EntryPut,
    EvictionDeleted,
    EvictionPut,
    Revision,
    SessionDeleted,
    SessionPut,
    Snapshot,
)
from lockstream_server.core.model import FOREIGN, EvictionRecord
from lockstream_server.store.keys import entry_id, eviction_id
from lockstream_server.store.memory_history import MemoryHistory
from lockstream_server.store.port import (
    Attachment,
    CreateSession,
    DeleteEntry,
    DeleteSession,
    Evict,
    EvictSession,
    Feed,
    Lease,
    Outcome,
    Proposal,
    PutEntries,
    PutEntry,
    Recorded,
    RewriteEntry,
    Settle,
    TakeOverSession,
    Verdict,
)

EntryKey = tuple[str, str]
Applied = tuple[Verdict, list[Change]]


@dataclass(slots=True)
class _Lease:
    """A lease with its end."""

    ttl: int
    expiry: asyncio.TimerHandle
    evictions: dict[str, None] = field(default_factory=dict)
    """The keys of the records of evictions under it, in the order in which they came."""


class MemoryStore:
    """A `Store` without a network. Leases end by the event loop's clock. Use it within one event loop."""

    def __init__(self) -> None:
        self._revision = 1
        self.proposals = 0
        """See `Store.proposals`."""
        self._next_lease = 0x1000_0000_0000_0001
        self._leases: dict[int, _Lease] = {}
        self._sessions: dict[int, SessionPut] = {}
        self._entries: dict[str, dict[str, EntryPut]] = {}
        self._written_at: dict[EntryKey, int] = {}
        """The revision that wrote each entry last."""
        self._evictions: dict[str, EvictionPut] = {}
        self._under: dict[str, int] = {}
        """The lease of the record of each eviction."""
        self._feeds: list[asyncio.Queue[Revision]] = []
        self.history = MemoryHistory(self._revision)
        """The revisions so far."""
        self._write: Mapping[type[Any], Callable[[Any], Applied]] = {
            PutEntry: self._put_entry,
            PutEntries: self._put_entries,
            RewriteEntry: self._rewrite_entry,
            DeleteEntry: self._delete_entry,
            Evict: self._evict,
            EvictSession: self._evict_session,
            CreateSession: self._create_session,
            TakeOverSession: self._take_over_session,
            DeleteSession: self._delete_session,
        }

    def __repr__(self) -> str:
        locks = {name: list(entries) for name, entries in self._entries.items()}
        return f"MemoryStore(revision={self._revision}, leases={len(self._leases)}, locks={locks})"

    # The port.

    def propose(self, proposal: Proposal, settle: Settle) -> None:
        """See `Store.propose`. Applied at once; told, as by any store, only later."""
        self.proposals += 1
        verdict, changes = self._apply(proposal)
        revision = self._commit(changes) if changes else self._revision
        if verdict is Verdict.EXISTS and isinstance(proposal, PutEntry | PutEntries):
            parts = [proposal] if isinstance(proposal, PutEntry) else proposal.parts
            own = [self._own(part.name, proposal.attachment.session, part.slot) for part in parts]
            revision = max(entry.token for entry in own if entry is not None)
        elif verdict is Verdict.WRITTEN and isinstance(proposal, CreateSession | TakeOverSession):
            revision = self._sessions[proposal.session].attached_at
        elif verdict in (Verdict.WRITTEN, Verdict.EXISTS) and isinstance(proposal, RewriteEntry):
            revision = self._written_at[proposal.name, entry_id(proposal.attachment.session, proposal.slot)]
        asyncio.get_running_loop().call_soon(settle, Outcome(verdict, revision))

    async def grant_lease(self, ttl: int) -> Lease:
        """See `Store.grant_lease`."""
        session = self._next_lease
        self._next_lease += 1
        expiry = asyncio.get_running_loop().call_later(ttl, self._end_lease, session)
        self._leases[session] = _Lease(ttl, expiry)
        return Lease(session, ttl)

    async def revoke_lease(self, session: int) -> None:
        """See `Store.revoke_lease`."""
        self._end_lease(session)

    def renew_lease(self, session: int, confirm: Callable[[bool], None]) -> None:
        """See `Store.renew_lease`."""
        lease = self._leases.get(session)
        loop = asyncio.get_running_loop()
        if lease is not None:
            lease.expiry.cancel()
            lease.expiry = loop.call_later(lease.ttl, self._end_lease, session)
        loop.call_soon(confirm, lease is not None)

    async def read_session(self, session: int) -> Recorded | None:
        """See `Store.read_session`."""
        put = self._sessions.get(session)
        return Recorded(put.record, put.attached_at) if put is not None else None

    async def read_lock(self, name: str) -> Snapshot:
        """See `Store.read_lock`."""
        return Snapshot(self._revision, [*self._entries.get(name, {}).values()], [])

    async def follow(self, feed: Feed) -> None:
        """See `Store.follow`."""
        revisions: asyncio.Queue[Revision] = asyncio.Queue()
        self._feeds.append(revisions)
        try:
            feed.resync(self._snapshot())
            while True:
                feed.fold(await revisions.get())
        finally:
            self._feeds.remove(revisions)

    async def read_state(self, revision: int) -> Snapshot:
        """See `Store.read_state`."""
        return self.history.state(revision)

    async def read_history(self, after: int, until: int) -> AsyncGenerator[Revision, None]:
        """See `Store.read_history`."""
        for revision in self.history.since(after, until):
            yield revision

    @property
    def lag(self) -> float:
        """See `Store.lag`. There is none."""
        return 0.0 if self._feeds else float("inf")

    @property
    def transactions(self) -> int:
        """See `Store.transactions`. Every proposal is one."""
        return self.proposals

    async def close(self) -> None:
        """Stop every lease."""
        for lease in self._leases.values():
            lease.expiry.cancel()
        self._leases.clear()

    # What others do to the keys of a store behind the service's back.

    def put_foreign(self, name: str, key: str) -> int:
        """Write an entry that is not of this service. Returns the revision."""
        return self._commit([self._entry_put(EntryPut(name, key, None, FOREIGN, self._revision + 1))])

    def delete_entry(self, name: str, key: str) -> int:
        """Delete any entry. Returns the revision."""
        return self._commit([self._entry_deleted(self._entries[name][key])])

    def sessions(self) -> list[int]:
        """The leases of all sessions on record."""
        return [*self._sessions]

    # Inside.

    def _attached(self, attachment: Attachment) -> bool:
        put = self._sessions.get(attachment.session)
        return put is not None and put.attached_at == attachment.revision

    def _apply(self, proposal: Proposal) -> Applied:
        """What becomes of a proposal, and what it changed. One whose session is not attached changes nothing."""
        attachment: Attachment | None = getattr(proposal, "attachment", None)
        if attachment is not None and not self._attached(attachment):
            ended = isinstance(proposal, DeleteSession) and attachment.session not in self._sessions
            return Verdict.ABSENT if ended else Verdict.REFUSED, []
        return self._write[type(proposal)](proposal)

    def _put_entry(self, proposal: PutEntry) -> Applied:
        attachment, name, slot, record, only_if_free = proposal
        queue = self._entries.get(name, {})
        key = entry_id(attachment.session, slot)
        if key in queue:
            return Verdict.EXISTS, []
        if queue and only_if_free:
            return Verdict.WOULD_BLOCK, []
        put = EntryPut(name, key, attachment.session, record, self._revision + 1)
        return Verdict.QUEUED if queue else Verdict.GRANTED, [self._entry_put(put)]

    def _put_entries(self, proposal: PutEntries) -> Applied:
        attachment, parts, only_if_free = proposal
        session = attachment.session
        if any(self._own(part.name, session, part.slot) is not None for part in parts):
            return Verdict.EXISTS, []
        if only_if_free and any(self._entries.get(part.name) for part in parts):
            return Verdict.WOULD_BLOCK, []
        token = self._revision + 1
        puts = [EntryPut(part.name, entry_id(session, part.slot), session, part.record, token) for part in parts]
        return Verdict.QUEUED, [self._entry_put(put) for put in puts]

    def _rewrite_entry(self, proposal: RewriteEntry) -> Applied:
        attachment, name, slot, token, since, record = proposal
        entry = self._own(name, attachment.session, slot)
        if entry is None or entry.token != token:
            return Verdict.ABSENT, []
        if self._written_at[name, entry.key] > since:
            return Verdict.WRITTEN if entry.record == record else Verdict.EXISTS, []
        return Verdict.WRITTEN, [self._entry_put(entry._replace(record=record))]

    def _delete_entry(self, proposal: DeleteEntry) -> Applied:
        attachment, name, slot, token = proposal
        entry = self._own(name, attachment.session, slot)
        if entry is None or entry.token != token:
            return Verdict.ABSENT, []
        return Verdict.DELETED, [self._entry_deleted(entry)]

    def _evict(self, proposal: Evict) -> Applied:
        entry = self._entries.get(proposal.name, {}).get(proposal.key)
        if entry is None or entry.token != proposal.token:
            return self._evicted_before(proposal.eviction), []
        if proposal.eviction is not None and proposal.lease not in self._leases:
            return Verdict.REFUSED, []
        return Verdict.DELETED, [self._entry_deleted(entry), *self._recorded(proposal.eviction, proposal.lease)]

    def _evict_session(self, proposal: EvictSession) -> Applied:
        known = self._sessions.get(proposal.session)
        if known is None or known.attached_at != proposal.seen:
            return self._evicted_before(proposal.eviction), []
        if proposal.lease not in self._leases:
            return Verdict.REFUSED, []
        del self._sessions[proposal.session]
        return Verdict.DELETED, [
            SessionDeleted(proposal.session),
            *self._recorded(proposal.eviction, proposal.lease),
        ]

    def _evicted_before(self, eviction: EvictionRecord | None) -> Verdict:
        """What to tell of an eviction that finds nothing: it may be a repeated one."""
        known = self._evictions.get(eviction_id(eviction)) if eviction is not None else None
        return Verdict.DELETED if known is not None and known.record == eviction else Verdict.ABSENT

    def _create_session(self, proposal: CreateSession) -> Applied:
        session, record = proposal
        known = self._sessions.get(session)
        if known is not None and known.record == record:
            return Verdict.WRITTEN, []
        if session not in self._leases or known is not None:
            return Verdict.REFUSED, []
        return Verdict.WRITTEN, [self._session_put(SessionPut(session, record, self._revision + 1))]

    def _take_over_session(self, proposal: TakeOverSession) -> Applied:
        session, seen, record = proposal
        known = self._sessions.get(session)
        if known is not None and known.record == record:
            return Verdict.WRITTEN, []
        if known is None or known.attached_at != seen:
            return Verdict.REFUSED, []
        return Verdict.WRITTEN, [self._session_put(SessionPut(session, record, self._revision + 1))]

    def _delete_session(self, proposal: DeleteSession) -> Applied:
        del self._sessions[proposal.attachment.session]
        return Verdict.DELETED, [SessionDeleted(proposal.attachment.session)]

    def _own(self, name: str, session: int, slot: int) -> EntryPut | None:
        return self._entries.get(name, {}).get(entry_id(session, slot))

    def _entry_put(self, put: EntryPut) -> EntryPut:
        self._entries.setdefault(put.name, {})[put.key] = put
        self._written_at[put.name, put.key] = self._revision + 1
        return put

    def _entry_deleted(self, put: EntryPut) -> EntryDeleted:
        queue = self._entries[put.name]
        del queue[put.key]
        del self._written_at[put.name, put.key]
        if not queue:
            del self._entries[put.name]
        return EntryDeleted(put.name, put.key)

    def _recorded(self, eviction: EvictionRecord | None, lease: int) -> list[Change]:
        """Write the record of an eviction, if there is to be one."""
        if eviction is None:
            return []
        put = EvictionPut(eviction_id(eviction), eviction)
        before = self._leases.get(self._under.get(put.key, 0))
        if before is not None:
            del before.evictions[put.key]
        self._evictions[put.key] = put
        self._under[put.key] = lease
        self._leases[lease].evictions[put.key] = None
        return [put]

    def _session_put(self, put: SessionPut) -> SessionPut:
        self._sessions[put.session] = put
        return put

    def _end_lease(self, session: int) -> None:
        """Delete a lease and all its keys in one revision, as etcd does."""
        lease = self._leases.pop(session, None)
        if lease is None:
            return
        lease.expiry.cancel()
        changes: list[Change] = [self._eviction_deleted(key) for key in lease.evictions]
        if self._sessions.pop(session, None) is not None:
            changes.append(SessionDeleted(session))
        if changes:
            self._commit(changes)

    def _eviction_deleted(self, key: str) -> EvictionDeleted:
        del self._under[key]
        del self._evictions[key]
        return EvictionDeleted(key)

    def _commit(self, changes: list[Change]) -> int:
        self._revision += 1
        revision = Revision(self._revision, changes)
        self.history.add(revision)
        for feed in self._feeds:
            feed.put_nowait(revision)
        return self._revision

    def _snapshot(self) -> Snapshot:
        entries = [put for queue in self._entries.values() for put in queue.values()]
        return Snapshot(self._revision, entries, [*self._sessions.values()], [*self._evictions.values()])
