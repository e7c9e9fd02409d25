"""Ending what somebody else holds, with a record of it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from lockstream_server.core.messages import Lost
from lockstream_server.core.model import Entry, EvictionRecord
from lockstream_server.core.table import Table
from lockstream_server.sessions import refusals
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.outcomes import outcome_of
from lockstream_server.store.port import Evict, EvictSession, Proposal, Store, Verdict

P = TypeVar("P", Evict, EvictSession)


def of_session(table: Table, session: int) -> list[Lost]:
    """What others ended of a session, as far as it is on record."""
    return [
        Lost(record.acquire, record.name, record.token, refusals.LOSSES[record.kind], record.reason, record.actor)
        for record in table.evictions.of_session(session)
        if record.acquire
    ]


async def evict(host: Host, entry: Entry, eviction: EvictionRecord) -> bool:
    """Delete the entry and record why, in one revision. False if it was gone already. Raises LockError."""
    return await _on_record(
        host, partial(Evict, entry.name, entry.key, entry.token, eviction), partial(_verdict, host.store)
    )


async def evict_session(host: Host, session: int, seen: int, eviction: EvictionRecord) -> bool:
    """End the session whose record was written at revision `seen`. False if that is no longer so. Raises LockError."""
    done = await _on_record(
        host, partial(EvictSession, session, seen, eviction), partial(host.orphans.end, session, seen, lost=True)
    )
    if done:
        await host.store.revoke_lease(session)
    return done


async def _on_record(host: Host, under: Callable[[int], P], decide: Callable[[P], Awaitable[Verdict]]) -> bool:
    """Propose an eviction, with its record under a lease that lives."""
    while True:
        lease = await host.record_leases.take()
        verdict = await decide(under(lease))
        if verdict is not Verdict.REFUSED:
            return _done(verdict)
        host.record_leases.ended(lease)


async def _verdict(store: Store, proposal: Proposal) -> Verdict:
    return (await outcome_of(store, proposal)).verdict


def _done(verdict: Verdict) -> bool:
    if verdict in (Verdict.DELETED, Verdict.ABSENT):
        return verdict is Verdict.DELETED
    raise refusals.by_store(verdict)
