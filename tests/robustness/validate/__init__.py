"""The checks on a recorded run: each a pure function from what was recorded to the promises that were not kept."""

from collections.abc import Callable, Iterator

from tests.robustness.story import Story
from tests.robustness.validate.bounds import Bounds
from tests.robustness.validate.commit_order import commit_order
from tests.robustness.validate.delays import delays
from tests.robustness.validate.endings import endings
from tests.robustness.validate.exclusion import exclusion
from tests.robustness.validate.leftovers import Remains, leftovers
from tests.robustness.validate.reads import reads
from tests.robustness.validate.registers import registers
from tests.robustness.validate.replay import Replay, replay
from tests.robustness.validate.settled import settled
from tests.robustness.validate.tokens import tokens
from tests.robustness.validate.violations import Violation
from tests.robustness.validate.waits import waits
from tests.robustness.validate.watches import watches

Check = Callable[[Story, Replay, Bounds], Iterator[Violation]]

CHECKS: tuple[Check, ...] = (
    exclusion,
    tokens,
    commit_order,
    endings,
    settled,
    waits,
    reads,
    registers,
    delays,
    watches,
)
"""What is checked of every run; `leftovers` is checked of what is there afterwards."""


def validate(
    story: Story, bounds: Bounds | None = None, remains: Remains | None = None, replayed: Replay | None = None
) -> list[Violation]:
    """Every promise that was not kept. `replayed` is the story's, if it is at hand."""
    replayed = replayed if replayed is not None else replay(story)
    found = [violation for check in CHECKS for violation in check(story, replayed, bounds or Bounds())]
    return found + list(leftovers(remains or Remains(), story.began.prefix))
