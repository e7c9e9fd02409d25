"""Grants follow etcd's commit order: what clients were told is what the history says, and in no other order."""

from collections.abc import Iterator

from lockstream_server.core.model import Mode
from tests.robustness.history import Outcome
from tests.robustness.story import Belief, Operation, Story
from tests.robustness.validate.bounds import Bounds
from tests.robustness.validate.replay import Replay, Tenure
from tests.robustness.validate.violations import Violation

CHECK = "commit order"

MODES = {
    "exclusive": {Mode.EXCLUSIVE, Mode.UPGRADE},
    "shared": {Mode.SHARED, Mode.EXCLUSIVE, Mode.UPGRADE},
    "permits": {Mode.PERMITS},
}
"""In which modes etcd may have what a client believes to hold: after a downgrade it believes in less than it has."""

ASKING = frozenset({"acquire", "acquire_all", "upgrade", "campaign"})
"""The operations that write entries."""


def commit_order(story: Story, replay: Replay, _bounds: Bounds) -> Iterator[Violation]:
    """Where the fold and the rules differ, and where a client was told what the history does not say."""
    yield from replay.violations
    for belief in story.beliefs:
        wrong = _wrong(belief, replay.tenures.get((belief.name, belief.token)))
        if wrong:
            yield Violation(CHECK, belief.name, f"{belief}: {wrong}")
    for operation in story.operations:
        if operation.kind in ASKING and operation.outcome is Outcome.OK:
            for part in operation.parts:
                owner = replay.entries.get((part.name, operation.token))
                if owner is None or owner != (operation.owner or owner):
                    asked = f"{operation.client} was told token {operation.token} for {operation.owner!r}"
                    whose = "no entry has it" if owner is None else f"it is that of {owner!r}"
                    yield Violation(CHECK, part.name, f"{asked}; {whose}")
    yield from _real_time(story, replay)


def _wrong(belief: Belief, tenure: Tenure | None) -> str:
    """What speaks against the belief in etcd's history."""
    if tenure is None:
        return "no such hold was ever granted"
    if tenure.session != belief.session:
        return f"the hold is of session {tenure.session}"
    if tenure.mode not in MODES[belief.mode]:
        return f"the hold is {tenure.mode.value}"
    if belief.mode == "permits" and (tenure.permits, tenure.limit) != belief.part[2:]:
        return f"the hold is of {tenure.permits} permits of {tenure.limit}"
    return ""


def _real_time(story: Story, replay: Replay) -> Iterator[Violation]:
    """What was asked for after a grant had been told was written after that grant."""
    told = [
        (belief.begun, tenure.granted, belief)
        for belief in story.beliefs
        if (tenure := replay.tenures.get((belief.name, belief.token))) is not None
    ]
    asked = sorted(
        (operation for operation in story.operations if operation.kind in ASKING and operation.outcome is Outcome.OK),
        key=lambda operation: operation.invoked,
    )
    told.sort(key=lambda known: known[0])
    newest: tuple[int, Belief] | None = None
    place = 0
    for operation in asked:
        while place < len(told) and told[place][0] < operation.invoked:
            _, revision, belief = told[place]
            newest = (revision, belief) if newest is None or revision > newest[0] else newest
            place += 1
        if newest is not None and operation.token <= newest[0]:
            yield Violation(CHECK, operation.names, _too_early(operation, *newest))


def _too_early(operation: Operation, revision: int, belief: Belief) -> str:
    return (
        f"{operation.client} asked at {operation.invoked:.3f} and its entry is of revision {operation.token}, "
        f"though {belief.client} had been told at {belief.begun:.3f} of a grant at revision {revision}"
    )
