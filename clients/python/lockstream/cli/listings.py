"""`lockstream ls`, `show` and `sessions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream import EntryState, connect
from lockstream.cli.output import age, labels, mode, plain, print_json, print_line, print_table, span, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lockstream import EntryView, EvictionView, LockView, SessionView

_ENTRY_EXTRAS: dict[str, Callable[[EntryView], str]] = {
    "TURN IN": lambda entry: "" if entry.estimated_wait is None else f"~{span(entry.estimated_wait)}",
    "MAX HOLD": lambda entry: _stated(entry.max_hold),
    "LOCK DELAY": lambda entry: _stated(entry.lock_delay),
    "VALUE": lambda entry: text_of(entry.value),
    "LABELS": lambda entry: labels(entry.metadata),
}
"""Columns that are there only if one of the entries has something in them."""


async def ls(servers: str, prefix: str, *, held: bool, contended: bool, session_id: str, as_json: bool) -> None:
    """Print the locks that are held or awaited."""
    async with connect(servers) as client:
        locks = await client.list_locks(prefix, held=held, contended=contended, session_id=session_id)
    if as_json:
        print_json(locks)
        return
    print_table(("NAME", "MODE", "HOLDERS", "WAITERS", "TOKEN", "HELD FOR"), map(_lock_row, locks))


async def show(servers: str, name: str, *, history: bool, as_json: bool) -> None:
    """Print one lock: its holders, then its queue; with its `history`, who was evicted from it."""
    async with connect(servers) as client:
        lock = await client.get_lock(name)  # the server's view, which knows since when it is held
        sessions = await client.list_sessions() if lock.entries else []
        evictions = await client.list_evictions(name) if history else []
    clients = {session.session_id: session.client_name for session in sessions}
    if as_json:
        found = plain(lock)
        for entry in found["entries"]:
            entry["client_name"] = clients.get(entry["session_id"])
        if history:
            found["evictions"] = plain(evictions)
        print_json(found)
        return
    if lock.entries:
        _print_entries(lock, clients)
    else:
        print_line(f"{name} is free")
    if history:
        _print_evictions(evictions)


async def sessions(servers: str, *, client_name: str, attached_to: str, as_json: bool) -> None:
    """Print the live sessions."""
    async with connect(servers) as client:
        found = await client.list_sessions(client_name=client_name, server=attached_to)
    if as_json:
        print_json(found)
        return
    columns = ("SESSION", "CLIENT", "OPEN FOR", "TTL", "HOLDS", "WAITS FOR", "SERVER")
    print_table(columns, map(_session_row, found))


def _print_entries(lock: LockView, clients: dict[str, str]) -> None:
    extras = {heading: extra for heading, extra in _ENTRY_EXTRAS.items() if any(map(extra, lock.entries))}
    columns = ("STATE", "FOR", "MODE", "TOKEN", "CLIENT", "SESSION", "OWNER", *extras)
    rows = ((*_entry_row(entry, clients), *(extra(entry) for extra in extras.values())) for entry in lock.entries)
    print_table(columns, rows)


def _print_evictions(evictions: Sequence[EvictionView]) -> None:
    if not evictions:
        print_line("nobody was evicted within the last hour")
        return
    print_line("evicted within the last hour:")
    columns = ("AGO", "TOKEN", "SESSION", "BY", "REASON")
    rows = ((age(one.evicted_at), str(one.token), one.session_id, one.actor, one.reason) for one in evictions)
    print_table(columns, rows)


def _lock_row(lock: LockView) -> Sequence[str]:
    holders = lock.holders
    newest = max(holders, key=lambda entry: entry.token, default=None)
    return (
        lock.name,
        mode(newest) if newest else "lock delay" if lock.delayed else "",
        str(len(holders)),
        str(len(lock.waiters)),
        str(newest.token) if newest else "",
        age(newest.granted_at) if newest else "",
    )


def _entry_row(entry: EntryView, clients: dict[str, str]) -> Sequence[str]:
    waits = entry.state is EntryState.WAITING
    return (
        f"waiting, {entry.position}." if waits else entry.state.name.lower(),
        age(entry.queued_at if waits else entry.granted_at),
        "" if entry.state is EntryState.DELAY else mode(entry),
        str(entry.token) if entry.state is EntryState.HELD else "",
        _client(entry, clients),
        entry.session_id,
        entry.owner,
    )


def _client(entry: EntryView, clients: dict[str, str]) -> str:
    if entry.state is EntryState.DELAY:
        return "(its holder was lost)"
    return clients.get(entry.session_id, "") if entry.session_id else "(not a Lockstream client)"


def _stated(duration: float | None) -> str:
    """A duration that was chosen, to the last digit where it is short."""
    if duration is None:
        return ""
    return f"{duration:g}s" if duration < 60 else span(duration)


def _session_row(session: SessionView) -> Sequence[str]:
    states = [claim.state for claim in session.claims]
    return (
        session.session_id,
        session.client_name,
        age(session.opened_at),
        f"{session.ttl:g}s",
        str(states.count(EntryState.HELD)),
        str(states.count(EntryState.WAITING)),
        session.server,
    )
