"""The highest fencing token that was granted of each name, as far as one server saw."""

from lockstream_server.core.model import Entry
from lockstream_server.core.recent import Recent

NAMES = 100_000
"""Names whose token is kept; beyond, those not granted for longest are forgotten."""


class HighestTokens:
    """Told of each grant; tokens grow from grant to grant of a name."""

    def __init__(self, names: int = NAMES) -> None:
        self._tokens: Recent[int] = Recent(names)

    def __repr__(self) -> str:
        return f"HighestTokens({self._tokens!r})"

    def granted(self, entry: Entry) -> None:
        """The entry holds now."""
        self._tokens.note(entry.name, entry.token)

    def of(self, name: str) -> int:
        """The highest token of the name; 0 when none is known."""
        return self._tokens.get(name) or 0
