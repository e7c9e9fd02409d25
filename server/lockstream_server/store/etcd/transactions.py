"""Proposals as nested etcd transactions, and etcd's answers as verdicts.

A group commit is one transaction whose operations are nested transactions, one per proposal, each with its own
compares. An acquire reads how many entries its lock has and then writes its own: none before it means that it holds.
Where the compares fail, a branch reads what is needed to tell why, so every verdict comes from the commit itself.

The messages are built in place, because assembling them from parts copies every part once per level.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etcd3 import etcdrpc

from lockstream_server.store.keys import Keys, encode_entry, encode_session, range_end
from lockstream_server.store.port import (
    Attachment,
    CreateSession,
    DeleteEntry,
    DeleteSession,
    Outcome,
    Proposal,
    PutEntry,
    TakeOverSession,
    Verdict,
)

CREATE, MOD = etcdrpc.Compare.CREATE, etcdrpc.Compare.MOD  # the result compared for, EQUAL, is the default


def if_written_at(txn: Any, key: bytes, revision: int) -> None:
    """Only if the key was last written at the revision."""
    compare = txn.compare.add()
    compare.target, compare.key, compare.mod_revision = MOD, key, revision


def if_created_at(txn: Any, key: bytes, revision: int) -> None:
    """Only if the key was created at the revision; 0 means that there is no such key."""
    compare = txn.compare.add()
    compare.target, compare.key, compare.create_revision = CREATE, key, revision


def if_empty(txn: Any, prefix: bytes) -> None:
    """Only if no key begins with the prefix."""
    compare = txn.compare.add()
    compare.target, compare.key, compare.range_end, compare.create_revision = CREATE, prefix, range_end(prefix), 0


def put(branch: Any, key: bytes, value: bytes, lease: int) -> None:
    """Write a key under a lease."""
    operation = branch.add().request_put
    operation.key, operation.value, operation.lease = key, value, lease


def delete(branch: Any, key: bytes) -> None:
    """Delete one key."""
    branch.add().request_delete_range.key = key


def read(branch: Any, key: bytes) -> None:
    """Read one key."""
    branch.add().request_range.key = key


def count(branch: Any, prefix: bytes) -> None:
    """Count the keys that begin with the prefix."""
    operation = branch.add().request_range
    operation.key, operation.range_end, operation.count_only = prefix, range_end(prefix), True


def found(answer: Any, index: int) -> Any:
    """What a read of one key found, or None."""
    return next(iter(answer.responses[index].response_range.kvs), None)


class Transactions:
    """Writes and reads transactions in one key space."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._write: Mapping[type[Any], Callable[[Any, Any], None]] = {
            PutEntry: self._put_entry,
            DeleteEntry: self._delete_entry,
            CreateSession: self._create_session,
            TakeOverSession: self._take_over_session,
            DeleteSession: self._delete_session,
        }

    def request(self, proposals: Sequence[Proposal]) -> Any:
        """One transaction for all the proposals."""
        whole = etcdrpc.TxnRequest()
        for proposal in proposals:
            self._write[type(proposal)](whole.success.add().request_txn, proposal)
        return whole

    def outcomes(self, proposals: Sequence[Proposal], response: Any) -> list[Outcome]:
        """What the answer says of each proposal."""
        revision = response.header.revision
        return [
            outcome(proposal, answer.response_txn, revision)
            for proposal, answer in zip(proposals, response.responses, strict=True)
        ]

    def _if_attached(self, txn: Any, attachment: Attachment) -> None:
        if_written_at(txn, self._keys.session(attachment.session), attachment.revision)

    def _put_entry(self, txn: Any, proposal: PutEntry) -> None:
        attachment, name, slot, record, only_if_free = proposal
        entry = self._keys.entry(name, attachment.session, slot)
        lock = self._keys.lock(name)
        self._if_attached(txn, attachment)
        if only_if_free:
            if_empty(txn, lock)
        else:
            if_created_at(txn, entry, 0)
        count(txn.success, lock)
        put(txn.success, entry, encode_entry(record), attachment.session)
        read(txn.failure, self._keys.session(attachment.session))
        read(txn.failure, entry)

    def _delete_entry(self, txn: Any, proposal: DeleteEntry) -> None:
        attachment, name, slot, token = proposal
        entry = self._keys.entry(name, attachment.session, slot)
        self._if_attached(txn, attachment)
        if token is not None:
            if_created_at(txn, entry, token)
        delete(txn.success, entry)
        read(txn.failure, self._keys.session(attachment.session))

    def _create_session(self, txn: Any, proposal: CreateSession) -> None:
        key = self._keys.session(proposal.session)
        if_created_at(txn, key, 0)
        put(txn.success, key, encode_session(proposal.record), proposal.session)
        read(txn.failure, key)

    def _take_over_session(self, txn: Any, proposal: TakeOverSession) -> None:
        key = self._keys.session(proposal.session)
        if_written_at(txn, key, proposal.seen)
        put(txn.success, key, encode_session(proposal.record), proposal.session)
        read(txn.failure, key)

    def _delete_session(self, txn: Any, proposal: DeleteSession) -> None:
        key = self._keys.session(proposal.attachment.session)
        self._if_attached(txn, proposal.attachment)
        delete(txn.success, key)
        read(txn.failure, key)


def outcome(proposal: Proposal, answer: Any, revision: int) -> Outcome:
    """What the answer of one nested transaction says of its proposal."""
    match proposal:
        case PutEntry(attachment, _, _, _, only_if_free):
            if answer.succeeded:
                before = answer.responses[0].response_range.count
                return Outcome(Verdict.QUEUED if before else Verdict.GRANTED, revision)
            if not _is_attached(attachment, found(answer, 0)):
                return Outcome(Verdict.REFUSED, revision)
            entry = found(answer, 1)
            if entry is None and only_if_free:
                return Outcome(Verdict.WOULD_BLOCK, revision)
            return Outcome(Verdict.EXISTS, entry.create_revision)
        case DeleteEntry(attachment):
            if answer.succeeded:
                deleted = answer.responses[0].response_delete_range.deleted
                return Outcome(Verdict.DELETED if deleted else Verdict.ABSENT, revision)
            attached = _is_attached(attachment, found(answer, 0))
            return Outcome(Verdict.ABSENT if attached else Verdict.REFUSED, revision)
        case CreateSession(_, record) | TakeOverSession(_, _, record):
            if answer.succeeded:
                return Outcome(Verdict.WRITTEN, revision)
            session = found(answer, 0)
            # An earlier attempt of ours, whose answer was lost, wrote it.
            if session is not None and session.value == encode_session(record):
                return Outcome(Verdict.WRITTEN, session.mod_revision)
            return Outcome(Verdict.REFUSED, revision)
        case DeleteSession():
            if answer.succeeded:
                return Outcome(Verdict.DELETED, revision)
            return Outcome(Verdict.ABSENT if found(answer, 0) is None else Verdict.REFUSED, revision)


def _is_attached(attachment: Attachment, session: Any) -> bool:
    return session is not None and session.mod_revision == attachment.revision
