"""A machine that is suspended and goes on, as its clocks show it: one stands still meanwhile, the other does not."""

import pytest

from lockstream import _clock


class Machine:
    """The machine that this process runs on, which sleeps when a test says so, and for as long as it says."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._slept = 0.0
        self._truly = _clock.asleep
        patch.setattr(_clock, "asleep", lambda: self._truly() + self._slept)

    def sleep(self, seconds: float) -> None:
        """Suspend it. Nothing runs, and CLOCK_MONOTONIC stands still, until so much later it goes on."""
        self._slept += seconds
