"""A name whose holder was lost stays taken for the lock delay that the holder asked for."""

from collections.abc import Iterator

from lockstream_server.core.effects import Cause
from tests.robustness.history import ABANDONED, End
from tests.robustness.story import Story
from tests.robustness.validate.bounds import Bounds, closed, read_late
from tests.robustness.validate.replay import Replay, Tenure
from tests.robustness.validate.violations import Violation


def delays(story: Story, replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each hold that was granted too early after another was lost.

    What was released or closed is not lost.
    """
    without_delays = closed(story)
    held_on = {
        (belief.name, belief.token)
        for belief in story.beliefs
        if belief.end is not End.RELEASED or belief.reason == ABANDONED
    }
    delayed: dict[str, Tenure] = {}
    for tenure in replay.tenures.values():
        lost = delayed.pop(tenure.name, None)
        if lost is not None and lost.orphaned_seen is not None and lost.cause is Cause.SESSION_ENDED:
            seen, lag = lost.orphaned_seen, bounds.recording
            if tenure.granted_seen < seen + lost.lock_delay - lag and not read_late(story, seen - lag, seen + lag):
                text = (
                    f"token {tenure.token} was granted {tenure.granted_seen - seen:.3f} s after token "
                    f"{lost.token} was lost, which had a lock delay of {lost.lock_delay:g} s"
                )
                yield Violation("delays", tenure.name, text)
        if tenure.lock_delay and tenure.session not in without_delays and (tenure.name, tenure.token) in held_on:
            delayed[tenure.name] = tenure
