"""A linearizable read of a token says that it holds for as long as its holder may believe so."""

from collections.abc import Iterator

from tests.robustness.story import Story
from tests.robustness.validate.bounds import Bounds, excess
from tests.robustness.validate.replay import Replay
from tests.robustness.validate.violations import Violation

NOT_HELD = "not held"
"""What the answer to `check_token` is recorded as."""


def reads(story: Story, replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each token that did not hold although its holder believed before, meanwhile and afterwards."""
    denied = [operation for operation in story.operations if operation.reason == NOT_HELD]
    beliefs = {(belief.name, belief.token): belief for belief in story.beliefs} if denied else {}
    for operation in denied:
        for part in operation.parts:
            belief = beliefs.get((part.name, operation.token))
            if belief is None or belief.begun > operation.invoked:
                continue
            if operation.completed < belief.ended - excess(story, replay, belief, bounds):
                text = f"at {operation.completed:.3f} {operation.client} was told that it is not held by {belief}"
                yield Violation("reads", part.name, text)
