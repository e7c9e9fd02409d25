"""`lockstream ls`, `show` and `sessions`: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lockstream import EntryState, EntryView, connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lockstream import LockView, SessionView

_WIDE = 10_000
"""Columns of a "terminal" that is none: lines in files and pipes are not cut."""


async def ls(servers: str, prefix: str, *, as_json: bool) -> None:
    """Print the locks that are held or awaited."""
    async with connect(servers) as client:
        locks = await client.list_locks(prefix)
    if as_json:
        _print_json(locks)
        return
    _print_table(("NAME", "MODE", "HOLDERS", "WAITERS", "TOKEN", "HELD FOR"), map(_lock_row, locks))


async def show(servers: str, name: str, *, as_json: bool) -> None:
    """Print one lock: its holders, then its queue."""
    async with connect(servers) as client:
        lock = await client.get_lock(name)  # the server's view, which knows since when it is held
        sessions = await client.list_sessions() if lock.entries else []
    clients = {session.session_id: session.client_name for session in sessions}
    if as_json:
        shown = _plain(lock)
        for entry in shown["entries"]:
            entry["client_name"] = clients.get(entry["session_id"])
        _print_json(shown)
    elif lock.entries:
        columns = ("STATE", "FOR", "MODE", "TOKEN", "CLIENT", "SESSION", "OWNER")
        _print_table(columns, (_entry_row(entry, clients) for entry in lock.entries))
    else:
        sys.stdout.write(f"{_shown(name)} is free\n")


async def sessions(servers: str, *, as_json: bool) -> None:
    """Print the live sessions."""
    async with connect(servers) as client:
        found = await client.list_sessions()
    if as_json:
        _print_json(found)
        return
    columns = ("SESSION", "CLIENT", "OPEN FOR", "TTL", "HOLDS", "WAITS FOR", "SERVER")
    _print_table(columns, map(_session_row, found))


def _lock_row(lock: LockView) -> Sequence[str]:
    holders = lock.holders
    newest = max(holders, key=lambda entry: entry.token, default=None)
    return (
        lock.name,
        _mode(newest) if newest else "",
        str(len(holders)),
        str(len(lock.waiters)),
        str(newest.token) if newest else "",
        _age(newest.granted_at) if newest else "",
    )


def _entry_row(entry: EntryView, clients: dict[str, str]) -> Sequence[str]:
    held = entry.state is EntryState.HELD
    return (
        "held" if held else f"waiting, {entry.position}.",
        _age(entry.granted_at if held else entry.queued_at),
        _mode(entry),
        str(entry.token) if held else "",
        clients.get(entry.session_id, "") if entry.session_id else "(not a Lockstream client)",
        entry.session_id,
        entry.owner,
    )


def _session_row(session: SessionView) -> Sequence[str]:
    states = [claim.state for claim in session.claims]
    return (
        session.session_id,
        session.client_name,
        _age(session.opened_at),
        f"{session.ttl:g}s",
        str(states.count(EntryState.HELD)),
        str(states.count(EntryState.WAITING)),
        session.server,
    )


def _mode(entry: EntryView) -> str:
    return "shared" if entry.shared else "exclusive"


def _age(moment: datetime | None) -> str:
    """How long ago that was, by the clocks of the server and this machine: `3s`, `2m05s`, `4h02m`, `3d04h`."""
    if moment is None:
        return ""
    seconds = max(0, round((datetime.now(UTC) - moment).total_seconds()))
    for size, unit, part, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // part:02d}{smaller}"
    return f"{seconds}s"


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(_shown(cell), overflow="fold") for cell in row))
    console = Console()
    console.print(table, width=None if console.is_terminal else _WIDE)


def _shown(text: str) -> str:
    """Text of unknown origin without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(_plain(value), indent=2 if sys.stdout.isatty() else None) + "\n")


def _plain(value: object) -> Any:
    """A view as JSON has it: times are ISO 8601, enumerations their names in lower case."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case enum.Enum():
            return value.name.lower()
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value
