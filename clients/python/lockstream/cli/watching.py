"""`lockstream watch`: locks as they stand, then every change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lockstream import ChangeKind, EntryState, LocksSnapshot, connect
from lockstream.cli.interrupts import Interrupts
from lockstream.cli.output import labels, mode, plain, print_json, print_line, text_of

if TYPE_CHECKING:
    from lockstream import EntryView, LockChange, LockChanges

_STANDS = {
    EntryState.HELD: "holds",
    EntryState.WAITING: "waits",
    EntryState.DELAY: "delay",
    EntryState.UNKNOWN: "unknown",
}


async def watch(servers: str, *, name: str | None, prefix: str | None, after: int, as_json: bool) -> int:
    """Print what happens to the locks until a signal comes, and return the exit code, which is 0."""
    tell = _tell_json if as_json else _tell
    with Interrupts() as interrupts:
        try:
            async with (
                connect(servers) as client,
                client.watch_locks(name, prefix=prefix, after_revision=after) as watching,
            ):
                async for told in watching:
                    tell(told)
        except asyncio.CancelledError:
            if interrupts.last is None:
                raise
    return 0


def _tell_json(told: LocksSnapshot | LockChanges) -> None:
    """One object for a snapshot, one for each change."""
    if isinstance(told, LocksSnapshot):
        print_json({"revision": told.revision, "kind": "snapshot", "locks": told.locks}, indent=False)
        return
    for change in told.changes:
        print_json({"revision": told.revision, **plain(change)}, indent=False)


def _tell(told: LocksSnapshot | LockChanges) -> None:
    """One line for each entry or change."""
    revision = str(told.revision)
    if not isinstance(told, LocksSnapshot):
        for change in told.changes:
            _print(revision, change.kind.name.lower(), change.name, change.entry, _why(change))
        return
    for lock in told.locks:
        for entry in lock.entries:
            _print(revision, _STANDS[entry.state], lock.name, entry)
    if not told.locks:
        print_line(revision, "nothing is held or awaited")


def _print(revision: str, what: str, name: str, entry: EntryView, why: str = "") -> None:
    details = {
        "": mode(entry),
        "token": str(entry.token),
        "session": entry.session_id,
        "owner": entry.owner,
        "place": str(entry.position) if entry.position else "",
        "value": text_of(entry.value),
        "labels": labels(entry.metadata),
        "because": why,
    }
    said = ", ".join(f"{heading} {detail}".strip() for heading, detail in details.items() if detail)
    print_line(revision, f"{what:<8}", name, said)


def _why(change: LockChange) -> str:
    if change.kind is ChangeKind.CHANGED and change.entry.state is EntryState.DELAY:
        return "its session is over"
    return change.reason.name if change.reason else ""
