"""A watch tells how locks stand at one revision and then every grant and every end of a hold, none left out."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set

from tests.robustness.history import Observed
from tests.robustness.story import Story
from tests.robustness.validate.bounds import Bounds
from tests.robustness.validate.replay import Replay
from tests.robustness.validate.violations import Violation

CHECK = "watches"

BEGINS, ENDS = "GRANTED", ("RELEASED", "LOST")

Happened = set[tuple[bool, str, int]]
"""Whether a hold began, its name, its token."""


def watches(story: Story, replay: Replay, _bounds: Bounds) -> Iterator[Violation]:
    """One violation for each revision that a watch told otherwise than etcd's history does, or did not tell."""
    happened: dict[int, Happened] = defaultdict(set)
    for tenure in replay.tenures.values():
        happened[tenure.granted].add((True, tenure.name, tenure.token))
        if tenure.removed is not None:
            happened[tenure.removed].add((False, tenure.name, tenure.token))
    numbers = sorted(happened)
    snapshots = {told.revision for observed in story.observations.values() for told in observed if told.snapshot}
    stood = _standing(numbers, happened, sorted(snapshots))
    for (client, number), observed in story.observations.items():
        yield from _told(f"watch {number} of {client}", observed, numbers, happened, stood)


def _standing(
    numbers: Sequence[int], happened: Mapping[int, Happened], revisions: Sequence[int]
) -> dict[int, frozenset[tuple[str, int]]]:
    """The name and token of every hold that stood at each of these revisions; both are in order."""
    stood: dict[int, frozenset[tuple[str, int]]] = {}
    standing: set[tuple[str, int]] = set()
    place = 0
    for revision in revisions:
        while place < len(numbers) and numbers[place] <= revision:
            changes = happened[numbers[place]]
            standing |= {(name, token) for begins, name, token in changes if begins}
            standing -= {(name, token) for begins, name, token in changes if not begins}
            place += 1
        stood[revision] = frozenset(standing)
    return stood


def _told(
    subject: str,
    observed: Sequence[Observed],
    numbers: Sequence[int],
    happened: Mapping[int, Happened],
    stood: Mapping[int, Set[tuple[str, int]]],
) -> Iterator[Violation]:
    before: Observed | None = None
    for now in observed:
        if before is not None and now.revision <= before.revision and not now.snapshot:
            yield Violation(CHECK, subject, f"told of revision {now.revision} after {before.revision}")
        if now.snapshot:
            told = {(name, token) for what, name, token in now.told if what == "held"}
            there = {hold for hold in stood[now.revision] if hold[0].startswith(now.prefix)}
            yield from _differ(subject, now.revision, told, there)
        elif before is not None:
            between = numbers[bisect_right(numbers, before.revision) : bisect_right(numbers, now.revision - 1)]
            left_out = [revision for revision in between if _covered(now, happened[revision])]
            if left_out:
                text = (
                    f"of revisions {left_out[0]} to {left_out[-1]} it left {len(left_out)} out, before {now.revision}"
                )
                yield Violation(CHECK, subject, text)
            grants_and_ends = {
                (what == BEGINS, name, token) for what, name, token in now.told if what == BEGINS or what in ENDS
            }
            there_too = _covered(now, happened.get(now.revision, set()))
            yield from _differ(subject, now.revision, grants_and_ends, there_too)
        before = now


def _differ(subject: str, revision: int, told: Set[object], there: Set[object]) -> Iterator[Violation]:
    if told != there:
        text = f"at revision {revision} it told {sorted(map(str, told))}, etcd's history has {sorted(map(str, there))}"
        yield Violation(CHECK, subject, text)


def _covered(observed: Observed, happened: Happened) -> Happened:
    return {each for each in happened if each[1].startswith(observed.prefix)}
