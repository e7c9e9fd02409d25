"""How long to pause between attempts to connect."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lockstream._errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """Delays that double from `minimum` to `maximum` seconds, each jittered over its upper half.

    Half of the delay is fixed, so that attempts never come in a burst; half is random, so that
    clients which lost the same server do not return in step ("equal jitter" in Marc Brooker's
    "Exponential Backoff And Jitter").
    """

    def __init__(self, minimum: float, maximum: float, uniform: Callable[[], float] = random.random) -> None:
        """`uniform` gives random numbers from 0 to 1. ConfigError unless 0 < minimum <= maximum."""
        if not 0 < minimum <= maximum:
            raise ConfigError(f"backoff must have 0 < minimum <= maximum, not {minimum} and {maximum}")
        self._minimum = minimum
        self._maximum = maximum
        self._uniform = uniform
        self._ceiling = minimum

    def next(self) -> float:
        """The delay before the next attempt, in seconds.

        The one after it is twice as long, up to the maximum.
        """
        delay = self._ceiling * (0.5 + 0.5 * self._uniform())
        self._ceiling = min(self._ceiling * 2, self._maximum)
        return delay

    def reset(self) -> None:
        """An attempt succeeded: begin at the minimum again."""
        self._ceiling = self._minimum

    def __repr__(self) -> str:
        return f"<Backoff ceiling={self._ceiling:g} maximum={self._maximum:g}>"
