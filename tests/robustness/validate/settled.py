"""What failed for certain has no effect: an acquire that was refused does not hold."""

from collections.abc import Iterator

from lockstream_server.core.model import Mode
from tests.robustness.history import Outcome
from tests.robustness.story import Story
from tests.robustness.validate.bounds import Bounds, read_late
from tests.robustness.validate.commit_order import ASKING
from tests.robustness.validate.replay import Replay, Tenure
from tests.robustness.validate.violations import Violation


def settled(story: Story, replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each acquire that is said to have failed, and holds nevertheless."""
    tenures: dict[tuple[str, str, bool], list[Tenure]] = {}
    for tenure in replay.tenures.values():
        tenures.setdefault((tenure.owner, tenure.name, tenure.mode is Mode.UPGRADE), []).append(tenure)
    for operation in story.operations:
        if operation.kind not in ASKING or operation.outcome is not Outcome.FAILED or not operation.owner:
            continue
        for part in operation.parts:
            for tenure in tenures.get((operation.owner, part.name, operation.kind == "upgrade"), ()):
                last = tenure.removed_seen if tenure.removed_seen is not None else float("inf")
                # An acquire that does not wait may write its entry, look, and take it back.
                if (
                    operation.invoked <= tenure.granted_seen
                    and last > operation.completed + bounds.notice
                    and not read_late(story, operation.completed, min(last, operation.completed + bounds.notice))
                ):
                    text = (
                        f"{operation.client} was told at {operation.completed:.3f} that {operation.kind} "
                        f"#{operation.number} had failed ({operation.reason}), but its entry held from revision "
                        f"{tenure.granted} until {last:.3f}, with token {tenure.token}"
                    )
                    yield Violation("settled", part.name, text)
