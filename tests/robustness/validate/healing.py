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
        if not tenure.session:
            delays[tenure.name].append(tenure)
    for operation in story.operations:
        if operation.kind in ASKING and operation.outcome is Outcome.OK:
            healed = troubles.healed_before(operation.completed)
            if not operation.invoked <= healed == troubles.broken_until(operation.completed):
                continue
            if any(
                _lasted(delay, healed, operation.completed) for part in operation.parts for delay in delays[part.name]
            ):
                continue
            yield operation.completed - healed


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value that this share of them does not exceed; None of none."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _lasted(delay: Tenure, since: float, until: float) -> bool:
    """Whether a lock delay kept its name taken within this time."""
    return delay.granted_seen < until and (delay.removed_seen is None or delay.removed_seen > since)
