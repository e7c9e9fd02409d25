"""Every waiter is granted or told: within a bound once nothing is broken, and in the end in any case.

Those who waited when a fault was over are granted soon, all but one in a hundred within one TTL plus a little: by then
every session that the fault has cost is gone.
"""

import math
from collections.abc import Iterator

from tests.robustness.story import Operation, Story
from tests.robustness.validate.bounds import Bounds
from tests.robustness.validate.healing import healings, percentile
from tests.robustness.validate.replay import Replay
from tests.robustness.validate.troubles import Troubles
from tests.robustness.validate.violations import Violation

SHARE = 0.99
"""Of the waits that were healed, those which have a bound."""


def waits(story: Story, replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each operation without an answer in time, and one if too many were granted late."""
    troubles = Troubles(story.faults)
    for operation in story.operations:
        if operation.completed == math.inf:
            if operation.client not in story.deaths:
                text = f"{_what(operation)} was never answered"
                yield Violation("waits", operation.names or operation.session, text)
            continue
        since = quiet_since(story, troubles, operation)
        if operation.completed - since > bounds.wait:
            text = (
                f"{_what(operation)} was answered ({operation.outcome.value} {operation.reason}) only at "
                f"{operation.completed:.3f}, with nothing broken since {since:.3f}"
            )
            yield Violation("waits", operation.names or operation.session, text)
    healed = sorted(healings(story, replay))
    late = percentile(healed, SHARE)
    allowed = max((session.ttl for session in story.sessions.values()), default=0.0) + bounds.healing
    if late is not None and late > allowed:
        text = f"of {len(healed)} granted after a fault was over, p99 took {late:.3f} s, and may take {allowed:g} s"
        yield Violation("waits", "grants after healing", text)


def quiet_since(story: Story, troubles: Troubles, operation: Operation) -> float:
    """Since when nothing kept the operation from being answered: its wait was over, and nothing was broken.

    Not later than its answer, which a fault may not have kept back.
    """
    since = max(operation.invoked + (operation.wait or 0.0), troubles.broken_until(operation.completed))
    for stall in story.stalls.get(operation.client, ()):
        if stall.since < operation.completed:
            since = max(since, stall.at)
    return min(since, operation.completed)


def _what(operation: Operation) -> str:
    return f"{operation.kind} #{operation.number} of {operation.client}, asked at {operation.invoked:.3f},"
