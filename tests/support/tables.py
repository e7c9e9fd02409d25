"""Lock tables as values that can be compared."""

from typing import NamedTuple

from lockstream_server.core.model import EntryRecord
from lockstream_server.core.table import Table


class Line(NamedTuple):
    """One entry of a lock."""

    key: str
    session: int | None
    record: EntryRecord
    token: int
    held: bool


def lines(table: Table) -> dict[str, list[Line]]:
    """The queues of a table, by name."""
    return {
        name: [Line(each.key, each.session, each.record, each.token, each.granted) for each in queue.entries]
        for name, queue in table.locks.items()
    }
