"""What a claim is refused with, and why it is lost."""

from collections.abc import Mapping, Sequence

import orjson

from lockstream_server.core.deadlock import Wait
from lockstream_server.core.errors import LockError, Reason, quota_exceeded
from lockstream_server.core.messages import LossReason
from lockstream_server.core.model import Entry, EntryRecord, EvictionKind, EvictionRecord, Mode, Terms, session_text
from lockstream_server.sessions.claim import REQUESTS_PER_CLAIM, Claim
from lockstream_server.store.port import Verdict

LOSSES: Mapping[EvictionKind, LossReason] = {
    EvictionKind.FORCE_RELEASED: LossReason.FORCE_RELEASED,
    EvictionKind.MAX_HOLD_EXCEEDED: LossReason.MAX_HOLD_EXCEEDED,
}


def would_block(claim: Claim) -> LockError:
    """It does not want to wait, and would have to."""
    return LockError(Reason.WOULD_BLOCK, f"{claim.name!r} is taken")


def not_held(acquire: int) -> LockError:
    """There is nothing to give up, or to change."""
    return LockError(Reason.NOT_HELD, f"acquire {acquire} does not hold a lock")


def stale(claim: Claim, token: int) -> LockError:
    """It is held, but under another token."""
    return LockError(Reason.STALE_TOKEN, f"acquire {claim.acquire} has token {claim.token}, not {token}")


def check_awaiting(claim: Claim, requests: int) -> None:
    """Refuse a request too many, so many awaiting the same of the claim. Raises LockError (QUOTA_EXCEEDED)."""
    if requests >= REQUESTS_PER_CLAIM:
        detail = f"too many requests about acquire {claim.acquire} await the store"
        raise quota_exceeded("requests_per_claim", REQUESTS_PER_CLAIM, requests, detail)


def already_held(rival: Claim, name: str, owner: str) -> LockError:
    """The owner has the name, and would wait for itself."""
    return LockError(
        Reason.ALREADY_HELD,
        f"owner {owner!r} of this session has {name!r} already, as acquire {rival.acquire}",
    )


def refused(entry: Entry, reason: Reason, other: Entry) -> LockError:
    """A rule refuses the entry because of one before it."""
    if reason is Reason.LIMIT_MISMATCH:
        limit = other.record.terms.limit
        detail = f"{entry.name!r} has {limit} permits, not {entry.record.terms.limit}"
        return LockError(reason, detail, metadata={"limit": str(limit)})
    return LockError(reason, f"a writer or another upgrade is in the queue of {entry.name!r} already")


def deadlocked(cycle: Sequence[Wait]) -> LockError:
    """The wait closed a cycle; the metadata has it as JSON, an object for each wait in turn."""
    waits = [{"session": session_text(wait.session), "owner": wait.owner, "name": wait.name} for wait in cycle]
    circle = ", ".join(f"{wait.owner!r} waits for {wait.name!r}" for wait in cycle)
    return LockError(Reason.DEADLOCK, f"a deadlock: {circle}", metadata={"cycle": orjson.dumps(waits).decode()})


def by_store(verdict: Verdict) -> LockError:
    """The store did not take what was proposed."""
    if verdict is Verdict.NO_SPACE:
        return LockError(Reason.STORE_UNAVAILABLE, "etcd is out of space, and takes nothing but releases")
    return LockError(Reason.INTERNAL, "etcd refused the transaction")


def session_ended(eviction: EvictionRecord) -> LockError:
    """Somebody ended the whole session."""
    return LockError(Reason.SESSION_EXPIRED, f"{eviction.actor} ended the session: {eviction.reason}")


def loss_of(eviction: EvictionRecord | None) -> LossReason:
    """Why a hold is lost whose entry was deleted by somebody else than its session."""
    return LossReason.REMOVED_EXTERNALLY if eviction is None else LOSSES[eviction.kind]


def is_same(claim: Claim, parts: Sequence[tuple[str, Mode, Terms]], owner: str) -> bool:
    """Whether these would ask for what the claim asked for."""
    asked = {(name, *EntryRecord(claim.acquire, mode, owner, 0.0, terms).asks_for()) for name, mode, terms in parts}
    return asked == {(name, *record.asks_for()) for name, _, record in claim.parts}


def draining() -> LockError:
    """This server takes nobody any more."""
    return LockError(Reason.DRAINING, "this server is about to stop")
