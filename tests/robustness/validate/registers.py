"""The fenced register never goes back, and refuses nobody who holds."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.robustness.history import Wrote
from tests.robustness.story import Belief, Story
from tests.robustness.validate.bounds import Bounds, excess
from tests.robustness.validate.replay import Replay
from tests.robustness.validate.violations import Violation

CHECK = "registers"


def registers(story: Story, replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each write that should not have been taken, or not have been refused."""
    fenced = [write for write in story.writes if write.fenced]
    for write, newest in goings_back(write for write in fenced if write.accepted):
        yield Violation(CHECK, write.name, f"took {write.value!r} with token {write.token} after {newest}")
    holders: dict[tuple[str, int], list[Belief]] = defaultdict(list)
    for belief in story.beliefs:
        holders[belief.name, belief.token].append(belief)
    for write in fenced:
        if write.accepted:
            continue
        for belief in holders[write.name, write.token]:
            # A newer holder wrote while this one still believed: the same as two who exclude each other.
            if belief.begun <= write.at < belief.ended - excess(story, replay, belief, bounds):
                yield Violation(CHECK, write.name, f"refused the write of {belief} at {write.at:.3f}")


def goings_back(writes: Iterable[Wrote]) -> Iterator[tuple[Wrote, int]]:
    """Each write that came after one with a newer token of the same name, and that token."""
    newest: dict[str, int] = {}
    for write in writes:
        known = newest.get(write.name, 0)
        if write.token < known:
            yield write, known
        newest[write.name] = max(known, write.token)
