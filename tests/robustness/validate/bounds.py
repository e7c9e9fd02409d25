"""How much is allowed, and what of it depends on the run."""

from typing import NamedTuple

from tests.robustness.history import ETCD, End
from tests.robustness.story import Belief, Story
from tests.robustness.validate.replay import Replay

EVICTIONS = frozenset({"FORCE_RELEASED", "MAX_HOLD_EXCEEDED", "REMOVED_EXTERNALLY"})
"""Losses of which the holder is told when they have happened, not before."""


class Bounds(NamedTuple):
    """Seconds, but for `external`."""

    notice: float = 2.0
    """Within which a holder is told that it was evicted, while nothing is broken: the way of a message through busy
    processes. While something is, its own deadline is the bound, which is a TTL at most."""
    wait: float = 20.0
    """Within which every operation is answered once its own wait is over and nothing is broken."""
    healing: float = 2.0
    """Beyond a TTL, within which those who waited are granted once nothing is broken, all but one in a hundred."""
    recording: float = 1.0
    """By which the record of etcd's history may lag behind etcd."""
    external: bool = False
    """Whether the run deletes keys behind the service."""


def excess(story: Story, replay: Replay, belief: Belief, bounds: Bounds) -> float:
    """For how long after its end in etcd's history a hold may be believed in, by what the guarantees say.

    Nothing at all, but for two documented exceptions: the notice of an eviction comes afterwards, and a session that
    chose a grace shorter than its TTL may find out late that its stream broke.
    """
    tenure = replay.tenures.get((belief.name, belief.token))
    session = story.sessions.get(belief.session)
    ttl = session.ttl if session is not None else 0.0
    evicted = tenure is not None and tenure.evicted is not None
    if evicted or (belief.end is End.LOST and belief.reason in EVICTIONS):
        return bounds.notice + (ttl if disturbed(story, belief) else 0.0)
    if session is not None and session.grace < session.ttl:
        return bounds.notice + (ttl if disturbed(story, belief) else ttl / 3)
    return 0.0


def evicted_before(replay: Replay, belief: Belief) -> bool:
    """Whether the hold had been evicted when its holder, which was frozen, read of its grant; the notice comes next."""
    tenure = replay.tenures.get((belief.name, belief.token))
    if tenure is None or tenure.evicted is None or tenure.removed_seen is None:
        return False
    return tenure.removed_seen <= belief.begun


def closed(story: Story) -> set[str]:
    """The sessions that their clients closed, or meant to. A close frees everything at once, with no lock delay."""
    return {operation.session for operation in story.operations if operation.kind == "close"}


def read_late(story: Story, since: float, until: float) -> bool:
    """Whether the process that records etcd's history stood still in between, so that it saw things late."""
    return any(stall.since <= until and since <= stall.at for stall in story.stalls.get(ETCD, ()))


def disturbed(story: Story, belief: Belief) -> bool:
    """Whether anything was broken, or the holder's process stood still, while it believed."""
    broken = any(fault.since <= belief.ended and belief.begun <= fault.until for fault in story.faults)
    stalls = story.stalls.get(belief.client, ())
    return broken or any(stall.since <= belief.ended and belief.begun <= stall.at for stall in stalls)
