"""How long those who waited when a fault was over had to wait on."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.robustness.history import Outcome
from tests.robustness.story import Story
from tests.robustness.validate.commit_order import ASKING
from tests.robustness.validate.replay import Replay, Tenure
from tests.robustness.validate.troubles import Troubles


def healings(story: Story, replay: Replay) -> Iterator[float]:
    """For each acquire that waited when a fault was over: how long after the last such moment it was granted.

    A fault that began in between and was not over either does not count: what it kept back it did not heal. Neither
    does a wait for a lock delay, which somebody asked for and no healing cuts short.
    """
    troubles = Troubles(story.faults)
    delays: dict[str, list[Tenure]] = defaultdict(list)
    for tenure in replay.tenures.values():
        if tenure.lock_delay and tenure.orphaned_seen is not None:
            delays[tenure.name].append(tenure)
    for operation in story.operations:
        if operation.kind in ASKING and operation.outcome is Outcome.OK:
            healed = troubles.healed_before(operation.completed)
            if not operation.invoked <= healed == troubles.broken_until(operation.completed):
                continue
            if any(
                _stayed(lost, healed, operation.completed) for part in operation.parts for lost in delays[part.name]
            ):
                continue
            yield operation.completed - healed


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value that this share of them does not exceed; None of none."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _stayed(lost: Tenure, since: float, until: float) -> bool:
    """Whether a hold kept its name taken within this time though its session was over."""
    begun = lost.orphaned_seen is not None and lost.orphaned_seen < until
    return begun and (lost.removed_seen is None or lost.removed_seen > since)
