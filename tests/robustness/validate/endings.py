"""No acknowledged hold ends without its holder's release, a notice of the loss, or the holder's own deadline."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from lockstream_server.core.effects import Cause
from lockstream_server.core.model import EvictionKind
from tests.robustness.history import End
from tests.robustness.story import Belief, Story
from tests.robustness.validate.bounds import Bounds, closed, disturbed, excess
from tests.robustness.validate.replay import Replay, Tenure
from tests.robustness.validate.violations import Violation

CHECK = "endings"


def endings(story: Story, replay: Replay, bounds: Bounds) -> Iterator[Violation]:
    """One violation for each hold that its holder did not know to have ended, or was told a wrong reason for."""
    without_delays = closed(story)
    parts: dict[tuple[str, int], list[Tenure]] = defaultdict(list)
    for belief in story.beliefs:
        if (tenure := replay.tenures.get((belief.name, belief.token))) is not None:
            parts[_hold(belief)].append(tenure)
    for belief in story.beliefs:
        known = replay.tenures.get((belief.name, belief.token))
        if known is None:
            continue  # that is a matter of the commit order
        if known.removed_seen is not None:
            delayed = known.orphaned_seen is not None and known.session not in without_delays
            seen = known.removed_seen - (known.lock_delay if delayed else 0.0)
            if late := _late(story, replay, belief, known, bounds, seen):
                yield Violation(CHECK, belief.name, f"{belief}: {late}")
        if belief.end is End.LOST and not _explains(belief.reason, parts[_hold(belief)], bounds):
            text = f"{belief}: etcd's history does not say so of the hold, which {_fate(known)}"
            yield Violation(CHECK, belief.name, text)


def _late(story: Story, replay: Replay, belief: Belief, tenure: Tenure, bounds: Bounds, seen: float) -> str:
    """How the holder believed in the hold after its end, which was `seen` then, if it did so for longer than it may."""
    allowed = excess(story, replay, belief, bounds)
    if tenure.cause is not Cause.SESSION_ENDED:
        # Deleted or evicted while the session lives: the news comes afterwards, or the deadline does.
        session = story.sessions.get(belief.session)
        ttl = session.ttl if session is not None and disturbed(story, belief) else 0.0
        allowed = max(allowed, bounds.notice + ttl)
    if belief.ended <= seen + allowed:
        return ""
    if belief.end is End.OPEN:
        return f"nobody told it that the hold {_fate(tenure)}"
    return f"believed for {belief.ended - seen:.3f} s after it was seen that the hold {_fate(tenure)}"


def _hold(belief: Belief) -> tuple[str, int]:
    """What is lost together: names that were acquired at once, a shared hold and its upgrade."""
    return belief.client, belief.stands_on or belief.number


def _explains(reason: str, tenures: Sequence[Tenure], bounds: Bounds) -> bool:
    """Whether what happened to any part of the hold is what the holder was told."""
    match reason:
        case "FORCE_RELEASED":
            return any(tenure.evicted is EvictionKind.FORCE_RELEASED for tenure in tenures)
        case "MAX_HOLD_EXCEEDED":
            return any(tenure.evicted is EvictionKind.MAX_HOLD_EXCEEDED for tenure in tenures)
        case "LEASE_EXPIRED":
            return any(tenure.cause is Cause.SESSION_ENDED for tenure in tenures)
        case "REMOVED_EXTERNALLY":
            return bounds.external and any(tenure.cause is Cause.DELETED for tenure in tenures)
        case _:
            return True  # UNPROVEN and SUPERSEDED say that the holder cannot know


def _fate(tenure: Tenure) -> str:
    if tenure.cause is None:
        return "still stands"
    by = f" ({tenure.evicted.value})" if tenure.evicted is not None else ""
    return f"ended at revision {tenure.removed}, seen at {tenure.removed_seen:.3f}: {tenure.cause.value}{by}"
