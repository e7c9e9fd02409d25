"""At no instant do more believe that they hold a name than may hold it together."""

from collections.abc import Iterable, Iterator, Sequence

from tests.robustness.story import Belief, Story
from tests.robustness.validate.bounds import Bounds, evicted_before, excess
from tests.robustness.validate.replay import Replay
from tests.robustness.validate.violations import Violation


def exclusion(story: Story, replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each belief that began while others did not allow for it."""
    standing: dict[str, list[Belief]] = {}
    for belief in sorted(story.beliefs, key=lambda belief: belief.begun):
        before = [other for other in standing.get(belief.name, ()) if other.ended > belief.begun]
        standing[belief.name] = [*before, belief]
        excluding = _excluding(before, belief)
        if not excluding:
            continue
        own = excess(story, replay, belief, bounds) if evicted_before(replay, belief) else 0.0
        beyond = [
            other
            for other in excluding
            if min(other.ended, belief.ended) - belief.begun > max(own, excess(story, replay, other, bounds))
        ]
        # Of permits those that are excused no longer count; what is left may well be few enough.
        if beyond and _excluding(beyond, belief):
            text = f"{belief} began beside {'; '.join(map(str, beyond))}"
            yield Violation("exclusion", belief.name, text)


def _excluding(before: Sequence[Belief], belief: Belief) -> Sequence[Belief]:
    """Those of the others that this one may not stand beside."""
    others = [other for other in before if not _one_hold(other, belief)]
    if belief.mode == "permits":
        alike = [other for other in others if other.mode == "permits" and other.part.limit == belief.part.limit]
        if len(alike) == len(others) and _permits(alike) + belief.part.permits <= belief.part.limit:
            return []
        return others
    return [other for other in others if not other.mode == belief.mode == "shared"]


def _one_hold(first: Belief, second: Belief) -> bool:
    """Whether both are of one hold: an upgrade and what it stands on, or before and after a downgrade."""
    if (first.client, first.session) != (second.client, second.session):
        return False
    return second.stands_on == first.number or first.stands_on == second.number or first.token == second.token


def _permits(beliefs: Iterable[Belief]) -> int:
    return sum(belief.part.permits for belief in beliefs)
