"""When something was broken."""

import math
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from tests.robustness.story import Fault


class Troubles:
    """When something was broken. A question costs little, however many faults there were."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        in_order = sorted(faults, key=lambda fault: fault.since)
        self._begins = [fault.since for fault in in_order]
        self._last_ends = list(accumulate((fault.until for fault in in_order), max))
        self._ends = sorted(fault.until for fault in in_order if fault.until < math.inf)

    def broken_until(self, moment: float) -> float:
        """By when the last of the faults was over that began before this moment; minus infinity if none did."""
        place = bisect_left(self._begins, moment)
        return self._last_ends[place - 1] if place else -math.inf

    def healed_before(self, moment: float) -> float:
        """The last end of a fault before this moment; minus infinity if there was none."""
        place = bisect_left(self._ends, moment)
        return self._ends[place - 1] if place else -math.inf
