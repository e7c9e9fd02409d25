"""Every waiter is granted or told: within a bound once nothing is broken, and in the end in any case."""

import math
from collections.abc import Iterator

from tests.robustness.story import Operation, Story
from tests.robustness.validate.bounds import Bounds
from tests.robustness.validate.replay import Replay
from tests.robustness.validate.violations import Violation


def waits(story: Story, _replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each operation without an answer in time."""
    for operation in story.operations:
        if operation.completed == math.inf:
            if operation.client not in story.deaths:
                text = f"{_what(operation)} was never answered"
                yield Violation("waits", operation.names or operation.session, text)
            continue
        since = quiet_since(story, operation)
        if operation.completed - since > bounds.wait:
            text = (
                f"{_what(operation)} was answered ({operation.outcome.value} {operation.reason}) only at "
                f"{operation.completed:.3f}, with nothing broken since {since:.3f}"
            )
            yield Violation("waits", operation.names or operation.session, text)


def quiet_since(story: Story, operation: Operation) -> float:
    """Since when nothing kept the operation from being answered: its wait was over, and nothing was broken.

    Not later than its answer, which a fault may not have kept back.
    """
    since = operation.invoked + (operation.wait or 0.0)
    for fault in story.faults:
        if fault.since < operation.completed:
            since = max(since, fault.until)
    for stall in story.stalls.get(operation.client, ()):
        if stall.since < operation.completed:
            since = max(since, stall.at)
    return min(since, operation.completed)


def _what(operation: Operation) -> str:
    return f"{operation.kind} #{operation.number} of {operation.client}, asked at {operation.invoked:.3f},"
