"""What failed for certain has no effect: an acquire that was refused does not hold."""

from collections.abc import Iterator

from lockstream_server.core.model import Mode
from tests.robustness.history import Outcome
from tests.robustness.story import Story
from tests.robustness.validate.bounds import Bounds, read_late
from tests.robustness.validate.commit_order import ASKING
from tests.robustness.validate.replay import Replay, Tenure
from tests.robustness.validate.troubles import Troubles
from tests.robustness.validate.violations import Violation


def settled(story: Story, replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each acquire that is said to have failed, and holds nevertheless.

    An acquire that does not wait may write its entry, look, and take it back. While something is broken that may take
    longer, and so may the end of a session that its client has given up.
    """
    troubles = Troubles(story.faults)
    tenures: dict[tuple[str, str, bool], list[Tenure]] = {}
    for tenure in replay.tenures.values():
        tenures.setdefault((tenure.owner, tenure.name, tenure.mode is Mode.UPGRADE), []).append(tenure)
    for operation in story.operations:
        if operation.kind not in ASKING or operation.outcome is not Outcome.FAILED or not operation.owner:
            continue
        for part in operation.parts:
            for tenure in tenures.get((operation.owner, part.name, operation.kind == "upgrade"), ()):
                last = tenure.removed_seen if tenure.removed_seen is not None else float("inf")
                last = min(last, replay.ended.get(tenure.session, float("inf")))
                until = operation.completed + bounds.notice
                if (healed := troubles.broken_until(last)) > operation.completed:
                    session = story.sessions.get(tenure.session)
                    until = healed + bounds.notice + (session.ttl if session is not None else 0.0)
                if (
                    operation.invoked <= tenure.granted_seen
                    and last > until
                    and not read_late(story, operation.completed, min(last, until))
                ):
                    text = (
                        f"{operation.client} was told at {operation.completed:.3f} that {operation.kind} "
                        f"#{operation.number} had failed ({operation.reason}), but its entry held from revision "
                        f"{tenure.granted} until {last:.3f}, with token {tenure.token}"
                    )
                    yield Violation("settled", part.name, text)
