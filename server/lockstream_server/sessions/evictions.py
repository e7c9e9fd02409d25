"""Ending what somebody else holds, with a record of it."""

import asyncio

from lockstream_server.core.messages import Lost
from lockstream_server.core.model import Entry, EvictionRecord
from lockstream_server.core.table import Table
from lockstream_server.sessions import refusals
from lockstream_server.sessions.host import settling
from lockstream_server.store.port import Evict, EvictSession, Outcome, Proposal, Store, Verdict

RECORD_SECONDS = 3600
"""For how long the record of an eviction is kept."""


def of_session(table: Table, session: int) -> list[Lost]:
    """What others ended of a session, as far as it is on record."""
    return [
        Lost(record.acquire, record.name, record.token, refusals.LOSSES[record.kind], record.reason, record.actor)
        for record in table.evictions.values()
        if record.session == session and record.acquire
    ]


async def evict(store: Store, entry: Entry, eviction: EvictionRecord) -> bool:
    """Delete the entry and record why, in one revision. False if it was gone already. Raises LockError."""
    lease = await store.grant_lease(RECORD_SECONDS)
    return await _settle(store, Evict(entry.name, entry.key, entry.token, eviction, lease.session), lease.session)


async def evict_session(store: Store, session: int, seen: int, eviction: EvictionRecord) -> bool:
    """End the session whose record was written at revision `seen`. False if that is no longer so. Raises LockError."""
    lease = await store.grant_lease(RECORD_SECONDS)
    done = await _settle(store, EvictSession(session, seen, eviction, lease.session), lease.session)
    if done:
        await store.revoke_lease(session)
    return done


async def remove(store: Store, entry: Entry) -> bool:
    """Delete an entry that nobody holds, such as a lock delay, without a record. Raises LockError."""
    return await _settle(store, Evict(entry.name, entry.key, entry.token, None, 0), None)


async def _settle(store: Store, proposal: Proposal, lease: int | None) -> bool:
    settled: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    store.propose(proposal, settling(settled))
    outcome = await settled
    if outcome.verdict is Verdict.DELETED:
        return True
    if lease is not None:
        await store.revoke_lease(lease)
    if outcome.verdict is not Verdict.ABSENT:
        raise refusals.by_store(outcome.verdict)
    return False
