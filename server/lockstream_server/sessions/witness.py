"""What a server makes of the fold beyond the table: whom it tells of it, and what it remembers."""

from collections.abc import Sequence

from lockstream_server.core.effects import Effect, Granted, Removed
from lockstream_server.core.estimates import HoldTimes
from lockstream_server.core.highest_tokens import HighestTokens
from lockstream_server.core.table import Table
from lockstream_server.sessions.observers import Observers


class Witness:
    """Sees the effects of every revision, at a small constant cost for each as long as nobody watches."""

    def __init__(self) -> None:
        self.observers = Observers()
        self.hold_times = HoldTimes()
        self.highest_tokens = HighestTokens()

    def took(self, table: Table, effects: Sequence[Effect], at: float | None) -> None:
        """The table has just folded a revision with these effects.

        `at` is the moment, in seconds since the epoch; None when the revision stands for many.
        """
        for effect in effects:
            if isinstance(effect, Granted):
                self.highest_tokens.granted(effect.entry)
            elif isinstance(effect, Removed) and at is not None:
                self.hold_times.removed(effect.entry, at)
        if self.observers:
            self.observers.took(table, effects)
