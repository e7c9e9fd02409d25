"""A clock that goes on while the machine sleeps.

A lease ends while its holder's machine is suspended, but CLOCK_MONOTONIC, by which event loops go, stands still
meanwhile. So whoever believes in a lease adds the time that was slept through. A virtual machine which its host pauses
cannot know of that: none of its clocks goes on.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

GRAIN = 1 / 128
"""Seconds in which sleep is counted, rounded up. A binary fraction can be added to a moment and taken off exactly."""

_AWAKE_OR_ASLEEP: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def asleep() -> float:
    """Seconds this machine has been suspended for since it was started, or a little less; 0 where no clock tells."""
    if _AWAKE_OR_ASLEEP is None:
        return 0.0
    # In this order: whatever keeps us between the two readings makes it seem to be less, which `Clock` passes over.
    return time.clock_gettime(_AWAKE_OR_ASLEEP) - time.monotonic()


class Clock:
    """An event loop's clock, plus the time for which the machine has slept since this was made."""

    __slots__ = ("_asleep_before", "_slept", "_time")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._time = loop.time
        self._asleep_before = asleep()
        self._slept = 0.0

    def time(self) -> float:
        """The time in seconds, for any thread. It never goes back."""
        slept = asleep() - self._asleep_before
        if slept >= self._slept + GRAIN:
            self._slept = math.ceil(slept / GRAIN) * GRAIN
        return self._time() + self._slept

    def timer(self, moment: float) -> float:
        """When the loop's clock will show this moment, for `call_at`. Sleep makes a timer late, never early."""
        return moment - self._slept
