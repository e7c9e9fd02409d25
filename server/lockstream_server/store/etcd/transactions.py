"""Proposals as nested etcd transactions, and etcd's answers as verdicts.

A group commit is one transaction whose operations are nested transactions, one per proposal, each with its own
compares. An acquire reads how many entries its lock has and then writes its own: none before it means that it holds.

Compares rarely fail, and why they did takes two reads to tell. So what is done to one entry is first proposed without
those reads, and once more with them if it failed; proposals are safe to repeat. A try, which expects to fail, reads at
once, and so does everything that is rare.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etcd3 import etcdrpc

from lockstream_server.store.keys import (
    Keys,
    encode_entry,
    encode_eviction,
    encode_session,
    eviction_id,
    range_end,
)
from lockstream_server.store.port import (
    Attachment,
    CreateSession,
    DeleteEntry,
    DeleteSession,
    Evict,
    EvictSession,
    Outcome,
    Proposal,
    PutEntries,
    PutEntry,
    RewriteEntry,
    TakeOverSession,
    Verdict,
)

CREATE, MOD = etcdrpc.Compare.CREATE, etcdrpc.Compare.MOD
LESS = etcdrpc.Compare.LESS  # the result compared for is EQUAL by default

Parts = dict[str, Any]
"""A message by its fields, from which the protobuf runtime builds it in one go: faster than from messages."""


def written_at(key: bytes, revision: int) -> Parts:
    """Holds if the key was last written at the revision."""
    return {"target": MOD, "key": key, "mod_revision": revision}


def unwritten_since(key: bytes, revision: int) -> Parts:
    """Holds if the key was last written at the revision or before, or is not there."""
    return {"target": MOD, "result": LESS, "key": key, "mod_revision": revision + 1}


def created_at(key: bytes, revision: int) -> Parts:
    """Holds if the key was created at the revision; 0 means that there is no such key."""
    return {"target": CREATE, "key": key, "create_revision": revision}


def empty(prefix: bytes) -> Parts:
    """Holds if no key begins with the prefix."""
    return {"target": CREATE, "key": prefix, "range_end": range_end(prefix), "create_revision": 0}


def put(key: bytes, value: bytes, lease: int = 0) -> Parts:
    """Write a key, under a lease if there is one."""
    return {"request_put": {"key": key, "value": value, "lease": lease}}


def delete(key: bytes) -> Parts:
    """Delete one key."""
    return {"request_delete_range": {"key": key}}


def read(key: bytes) -> Parts:
    """Read one key."""
    return {"request_range": {"key": key}}


def count(prefix: bytes) -> Parts:
    """Count the keys that begin with the prefix."""
    return {"request_range": {"key": prefix, "range_end": range_end(prefix), "count_only": True}}


def found(answer: Any, index: int) -> Any:
    """What a read of one key found, or None."""
    return next(iter(answer.responses[index].response_range.kvs), None)


class Transactions:
    """Writes and reads transactions in one key space."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._write: Mapping[type[Any], Callable[[Any], Parts]] = {
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

    def request(self, proposals: Sequence[Proposal], *, explain: bool) -> Any:
        """One transaction for all the proposals, telling why those fail that do if asked to `explain`."""
        whole = etcdrpc.TxnRequest()
        for proposal in proposals:
            nested = self._write[type(proposal)](proposal)
            if explain:
                nested["failure"] = self._explanation(proposal)
            whole.success.add(request_txn=nested)
        return whole

    def outcomes(self, proposals: Sequence[Proposal], response: Any) -> list[Outcome | None]:
        """What the answer says of each proposal; None where compares failed and nobody knows why."""
        revision = response.header.revision
        return [
            outcome(proposal, answer.response_txn, revision)
            for proposal, answer in zip(proposals, response.responses, strict=True)
        ]

    def _attached(self, attachment: Attachment) -> Parts:
        return written_at(self._keys.session(attachment.session), attachment.revision)

    def _put_entry(self, proposal: PutEntry) -> Parts:
        attachment, name, slot, record, only_if_free = proposal
        entry = self._keys.entry(name, attachment.session, slot)
        lock = self._keys.lock(name)
        write = [count(lock), put(entry, encode_entry(record))]
        if only_if_free:
            free = [self._attached(attachment), empty(lock)]
            return {"compare": free, "success": write, "failure": self._explanation(proposal)}
        return {"compare": [self._attached(attachment), created_at(entry, 0)], "success": write}

    def _put_entries(self, proposal: PutEntries) -> Parts:
        attachment, parts, only_if_free = proposal
        entries = [self._keys.entry(part.name, attachment.session, part.slot) for part in parts]
        vacant = (
            [empty(self._keys.lock(part.name)) for part in parts]
            if only_if_free
            else [created_at(entry, 0) for entry in entries]
        )
        return {
            "compare": [self._attached(attachment), *vacant],
            "success": [put(entry, encode_entry(part.record)) for entry, part in zip(entries, parts, strict=True)],
            "failure": self._explanation(proposal),
        }

    def _rewrite_entry(self, proposal: RewriteEntry) -> Parts:
        attachment, name, slot, token, since, record = proposal
        entry = self._keys.entry(name, attachment.session, slot)
        return {
            "compare": [self._attached(attachment), created_at(entry, token), unwritten_since(entry, since)],
            "success": [put(entry, encode_entry(record))],
        }

    def _delete_entry(self, proposal: DeleteEntry) -> Parts:
        attachment, name, slot, token = proposal
        entry = self._keys.entry(name, attachment.session, slot)
        return {"compare": [self._attached(attachment), created_at(entry, token)], "success": [delete(entry)]}

    def _evict(self, proposal: Evict) -> Parts:
        name, key, token, eviction, lease = proposal
        entry = self._keys.entry_at(name, key)
        record = []
        if eviction is not None:
            record.append(put(self._keys.eviction(eviction_id(eviction)), encode_eviction(eviction), lease))
        return {
            "compare": [created_at(entry, token)],
            "success": [delete(entry), *record],
            "failure": self._explanation(proposal),
        }

    def _evict_session(self, proposal: EvictSession) -> Parts:
        session, seen, eviction, lease = proposal
        key = self._keys.session(session)
        record = put(self._keys.eviction(eviction_id(eviction)), encode_eviction(eviction), lease)
        return {
            "compare": [written_at(key, seen)],
            "success": [delete(key), record],
            "failure": self._explanation(proposal),
        }

    def _explanation(self, proposal: Proposal) -> list[Parts]:
        """The reads from which `_failure` tells why compares failed: the session's record, then the entry."""
        keys = self._keys
        match proposal:
            case (
                PutEntry(attachment, name, slot)
                | DeleteEntry(attachment, name, slot)
                | RewriteEntry(attachment, name, slot)
            ):
                return [read(keys.session(attachment.session)), read(keys.entry(name, attachment.session, slot))]
            case PutEntries(attachment, parts):
                entries = [keys.entry(part.name, attachment.session, part.slot) for part in parts]
                return [read(keys.session(attachment.session)), *map(read, entries)]
            case CreateSession(session) | TakeOverSession(session):
                return [read(keys.session(session))]
            case DeleteSession(attachment):
                return [read(keys.session(attachment.session))]
            case Evict(name, key, _, eviction):
                return [read(keys.eviction(eviction_id(eviction)) if eviction else keys.entry_at(name, key))]
            case EvictSession(_, _, eviction):
                return [read(keys.eviction(eviction_id(eviction)))]

    def _create_session(self, proposal: CreateSession) -> Parts:
        return self._write_session(created_at(self._keys.session(proposal.session), 0), proposal)

    def _take_over_session(self, proposal: TakeOverSession) -> Parts:
        return self._write_session(written_at(self._keys.session(proposal.session), proposal.seen), proposal)

    def _write_session(self, compare: Parts, proposal: CreateSession | TakeOverSession) -> Parts:
        key = self._keys.session(proposal.session)
        write = put(key, encode_session(proposal.record), proposal.session)
        return {"compare": [compare], "success": [write], "failure": self._explanation(proposal)}

    def _delete_session(self, proposal: DeleteSession) -> Parts:
        key = self._keys.session(proposal.attachment.session)
        return {
            "compare": [self._attached(proposal.attachment)],
            "success": [delete(key)],
            "failure": self._explanation(proposal),
        }


def outcome(proposal: Proposal, answer: Any, revision: int) -> Outcome | None:
    """What the answer of one nested transaction says of its proposal; None if it failed and does not say why."""
    if answer.succeeded:
        return Outcome(_success(proposal, answer), revision)
    if not answer.responses:
        return None
    return _failure(proposal, answer, revision)


def _success(proposal: Proposal, answer: Any) -> Verdict:
    if isinstance(proposal, PutEntry):
        return Verdict.QUEUED if answer.responses[0].response_range.count else Verdict.GRANTED
    return _SUCCESS[type(proposal)]


_SUCCESS: Mapping[type[Any], Verdict] = {
    PutEntries: Verdict.QUEUED,
    DeleteEntry: Verdict.DELETED,
    RewriteEntry: Verdict.WRITTEN,
    Evict: Verdict.DELETED,
    EvictSession: Verdict.DELETED,
    CreateSession: Verdict.WRITTEN,
    TakeOverSession: Verdict.WRITTEN,
    DeleteSession: Verdict.DELETED,
}
"""What it means that the compares held, where that says it all."""


def _failure(proposal: Proposal, answer: Any, revision: int) -> Outcome:
    first = found(answer, 0)
    match proposal:
        case PutEntry(attachment) | PutEntries(attachment):
            if not _is_attached(attachment, first):
                return Outcome(Verdict.REFUSED, revision)
            entries = [entry for index in range(1, len(answer.responses)) if (entry := found(answer, index))]
            if not entries:  # a try, and somebody else's entry is there
                return Outcome(Verdict.WOULD_BLOCK, revision)
            return Outcome(Verdict.EXISTS, max(entry.create_revision for entry in entries))
        case DeleteEntry(attachment):
            return Outcome(Verdict.ABSENT if _is_attached(attachment, first) else Verdict.REFUSED, revision)
        case RewriteEntry(attachment, _, _, token, _, record):
            if not _is_attached(attachment, first):
                return Outcome(Verdict.REFUSED, revision)
            entry = found(answer, 1)
            if entry is None or entry.create_revision != token:
                return Outcome(Verdict.ABSENT, revision)
            # An earlier attempt of ours, whose answer was lost, may have written it.
            written = entry.value == encode_entry(record)
            return Outcome(Verdict.WRITTEN if written else Verdict.EXISTS, entry.mod_revision)
        case CreateSession(_, record) | TakeOverSession(_, _, record):
            # Likewise.
            if first is not None and first.value == encode_session(record):
                return Outcome(Verdict.WRITTEN, first.mod_revision)
            return Outcome(Verdict.REFUSED, revision)
        case DeleteSession():
            return Outcome(Verdict.ABSENT if first is None else Verdict.REFUSED, revision)
        case Evict(eviction=eviction) | EvictSession(eviction=eviction):
            # Likewise.
            if eviction is not None and first is not None and first.value == encode_eviction(eviction):
                return Outcome(Verdict.DELETED, first.mod_revision)
            return Outcome(Verdict.ABSENT, revision)


def _is_attached(attachment: Attachment, session: Any) -> bool:
    return session is not None and session.mod_revision == attachment.revision
