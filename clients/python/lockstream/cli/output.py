"""How values are shown: tables and lines for people, JSON for programs."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lockstream import EntryView, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDE = 10_000
"""Columns of a "terminal" that is none: lines in files and pipes are not cut."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headings."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(shown(cell), overflow="fold") for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def print_line(*cells: str) -> None:
    """Print one line at once, also into a pipe."""
    sys.stdout.write("  ".join(shown(cell) for cell in cells) + "\n")
    sys.stdout.flush()


def print_json(value: object, *, indent: bool = True) -> None:
    """Print a value; on a terminal over several lines, unless they have to be one for each value."""
    sys.stdout.write(json.dumps(plain(value), indent=2 if indent and sys.stdout.isatty() else None) + "\n")
    sys.stdout.flush()


def plain(value: object) -> Any:
    """A view as JSON has it.

    Times are ISO 8601, enumerations their names in lower case, bytes their text, or {"base64": ...} if they are none.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case enum.Enum():
            return value.name.lower()
        case datetime():
            return value.isoformat()
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return {"base64": base64.b64encode(value).decode()}
        case list() | tuple():
            return [plain(item) for item in value]
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


def shown(text: str) -> str:
    """Text of unknown origin without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def text_of(value: bytes) -> str:
    """A value for people."""
    return value.decode(errors="backslashreplace")


def labels(metadata: Mapping[str, str]) -> str:
    """Labels in one line."""
    return " ".join(f"{key}={value}" for key, value in sorted(metadata.items()))


def mode(entry: EntryView) -> str:
    """How an entry holds, or is to hold: `exclusive`, `permits 2/5`."""
    if entry.mode is Mode.PERMITS:
        return f"permits {entry.permits}/{entry.limit}"
    return entry.mode.name.lower()


def age(moment: datetime | None) -> str:
    """How long ago that was, by the clocks of the server and this machine."""
    return "" if moment is None else span(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def span(duration: float) -> str:
    """A duration of some seconds: `3s`, `2m05s`, `4h02m`, `3d04h`."""
    seconds = round(duration)
    for size, unit, part, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // part:02d}{smaller}"
    return f"{seconds}s"
