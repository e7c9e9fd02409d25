"""Fencing tokens grow from grant to grant of a name: in etcd's order, and in that of the world."""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.robustness.story import Belief, Story
from tests.robustness.validate.bounds import Bounds, evicted_before
from tests.robustness.validate.replay import Replay
from tests.robustness.validate.violations import Violation

EXCLUDED_BY = {
    "exclusive": ("exclusive", "shared", "permits"),
    "shared": ("exclusive", "permits"),
    "permits": ("exclusive", "shared"),
}
"""What a hold of each mode follows when the two cannot have overlapped."""


def tokens(story: Story, replay: Replay, _bounds: Bounds) -> Iterator[Violation]:
    """One violation for each grant whose token is not larger than those before it."""
    newest: dict[str, int] = {}
    for tenure in replay.tenures.values():
        if tenure.session:
            if tenure.token <= newest.get(tenure.name, 0):
                text = f"granted at revision {tenure.granted} with token {tenure.token} after {newest[tenure.name]}"
                yield Violation("tokens", tenure.name, text)
            newest[tenure.name] = max(tenure.token, newest.get(tenure.name, 0))
    beliefs = defaultdict(list)
    for belief in story.beliefs:
        if not evicted_before(replay, belief):
            beliefs[belief.name].append(belief)
    for name, of_name in beliefs.items():
        yield from _in_the_world(name, of_name)


def _in_the_world(name: str, beliefs: Sequence[Belief]) -> Iterator[Violation]:
    """Whoever holds after another has stopped, and could not have held beside it, has a larger token."""
    over: dict[str, Belief] = {}
    ends: list[tuple[float, int, Belief]] = []
    for place, belief in enumerate(sorted(beliefs, key=lambda belief: belief.begun)):
        while ends and ends[0][0] <= belief.begun:
            _, _, other = heapq.heappop(ends)
            known = over.get(other.mode)
            over[other.mode] = other if known is None or other.token > known.token else known
        heapq.heappush(ends, (belief.ended, place, belief))
        for mode in EXCLUDED_BY[belief.mode]:
            before = over.get(mode)
            if before is None or before.token < belief.token:
                continue
            if before.token == belief.token and before.session == belief.session:
                continue  # it was downgraded
            yield Violation("tokens", name, f"{belief} follows {before}")
