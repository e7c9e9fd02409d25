"""The store in process: the same promises as etcd's, kept by a dictionary.

It serves `local:` clients and fast tests. Several servers may share one, each following it with a feed of its own.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from lockstream_server.core.model import FOREIGN
from lockstream_server.core.table import (
    Change,
    EntryDeleted,
    EntryPut,
    Revision,
    SessionDeleted,
    SessionPut,
    Snapshot,
)
from lockstream_server.store.keys import entry_id
from lockstream_server.store.port import (
    Attachment,
    CreateSession,
    DeleteEntry,
    DeleteSession,
    Feed,
    Lease,
    Outcome,
    Proposal,
    PutEntry,
    Recorded,
    Settle,
    TakeOverSession,
    Verdict,
)

EntryKey = tuple[str, str]


@dataclass(slots=True)
class _Lease:
    """A lease with its keys and its end."""

    ttl: int
    expiry: asyncio.TimerHandle
    entries: set[EntryKey] = field(default_factory=set)


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
        self._feeds: list[asyncio.Queue[Revision]] = []

    def __repr__(self) -> str:
        locks = {name: list(entries) for name, entries in self._entries.items()}
        return f"MemoryStore(revision={self._revision}, leases={len(self._leases)}, locks={locks})"

    # The port.

    def propose(self, proposal: Proposal, settle: Settle) -> None:
        """See `Store.propose`. Applied at once; told, as by any store, only later."""
        self.proposals += 1
        verdict, changes = self._apply(proposal)
        revision = self._commit(changes) if changes else self._revision
        if verdict is Verdict.EXISTS and isinstance(proposal, PutEntry):
            revision = self._entries[proposal.name][entry_id(proposal.attachment.session, proposal.slot)].token
        elif verdict is Verdict.WRITTEN and isinstance(proposal, CreateSession | TakeOverSession):
            revision = self._sessions[proposal.session].attached_at
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

    # Inside.

    def _attached(self, attachment: Attachment) -> bool:
        put = self._sessions.get(attachment.session)
        return put is not None and put.attached_at == attachment.revision

    def _apply(self, proposal: Proposal) -> tuple[Verdict, list[Change]]:
        match proposal:
            case PutEntry(attachment, name, slot, record, only_if_free):
                key = entry_id(attachment.session, slot)
                queue = self._entries.get(name, {})
                if not self._attached(attachment):
                    return Verdict.REFUSED, []
                if key in queue:
                    return Verdict.EXISTS, []
                if queue and only_if_free:
                    return Verdict.WOULD_BLOCK, []
                verdict = Verdict.QUEUED if queue else Verdict.GRANTED
                put = EntryPut(name, key, attachment.session, record, self._revision + 1)
                return verdict, [self._entry_put(put)]
            case DeleteEntry(attachment, name, slot, token):
                if not self._attached(attachment):
                    return Verdict.REFUSED, []
                entry = self._entries.get(name, {}).get(entry_id(attachment.session, slot))
                if entry is None or token not in (None, entry.token):
                    return Verdict.ABSENT, []
                return Verdict.DELETED, [self._entry_deleted(entry)]
            case CreateSession(session, record):
                known = self._sessions.get(session)
                if known is not None and known.record == record:
                    return Verdict.WRITTEN, []
                if session not in self._leases or known is not None:
                    return Verdict.REFUSED, []
                return Verdict.WRITTEN, [self._session_put(SessionPut(session, record, self._revision + 1))]
            case TakeOverSession(session, seen, record):
                known = self._sessions.get(session)
                if known is not None and known.record == record:
                    return Verdict.WRITTEN, []
                if known is None or known.attached_at != seen:
                    return Verdict.REFUSED, []
                return Verdict.WRITTEN, [self._session_put(SessionPut(session, record, self._revision + 1))]
            case DeleteSession(attachment):
                if attachment.session not in self._sessions:
                    return Verdict.ABSENT, []
                if not self._attached(attachment):
                    return Verdict.REFUSED, []
                del self._sessions[attachment.session]
                return Verdict.DELETED, [SessionDeleted(attachment.session)]

    def _entry_put(self, put: EntryPut) -> EntryPut:
        self._entries.setdefault(put.name, {})[put.key] = put
        if put.session is not None:
            self._leases[put.session].entries.add((put.name, put.key))
        return put

    def _entry_deleted(self, put: EntryPut) -> EntryDeleted:
        queue = self._entries[put.name]
        del queue[put.key]
        if not queue:
            del self._entries[put.name]
        if put.session is not None and put.session in self._leases:
            self._leases[put.session].entries.discard((put.name, put.key))
        return EntryDeleted(put.name, put.key)

    def _session_put(self, put: SessionPut) -> SessionPut:
        self._sessions[put.session] = put
        return put

    def _end_lease(self, session: int) -> None:
        """Delete a lease and all its keys in one revision, as etcd does."""
        lease = self._leases.pop(session, None)
        if lease is None:
            return
        lease.expiry.cancel()
        changes: list[Change] = [self._entry_deleted(self._entries[name][key]) for name, key in lease.entries]
        if self._sessions.pop(session, None) is not None:
            changes.append(SessionDeleted(session))
        if changes:
            self._commit(changes)

    def _commit(self, changes: list[Change]) -> int:
        self._revision += 1
        for feed in self._feeds:
            feed.put_nowait(Revision(self._revision, changes))
        return self._revision

    def _snapshot(self) -> Snapshot:
        entries = [put for queue in self._entries.values() for put in queue.values()]
        return Snapshot(self._revision, entries, [*self._sessions.values()])
