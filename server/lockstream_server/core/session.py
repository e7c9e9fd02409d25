"""What a session may do next, and how long its lease is proven.

    ATTACHED --stream ends--> DETACHED --lease or grace ends, resumed elsewhere--> ENDED
        |
        +---closed, lease lost, resumed elsewhere--------------------------------> ENDED

A `Session` object lives on one server from an attach to an end. A resume, also on the same server, makes another one
and supersedes this: so there is no way back from DETACHED here.
"""

from collections.abc import Mapping
from enum import Enum


class Phase(Enum):
    """Where a session stands on this server."""

    ATTACHED = "attached"
    DETACHED = "detached"
    ENDED = "ended"


TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.ATTACHED: frozenset({Phase.DETACHED, Phase.ENDED}),
    Phase.DETACHED: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset(),
}


class Standing(Enum):
    """How sure the server is that the lease lives."""

    SAFE = "safe"
    JEOPARDY = "jeopardy"
    """No proof for half the TTL."""
    UNPROVEN = "unproven"
    """No proof for a whole TTL: the lease may be gone, somebody else may hold the locks."""


class LeaseProof:
    """How long the lease is proven, by the monotonic clock of whoever asks.

    A renewal proves the lease from the moment it was sent until a TTL later. etcd cannot have received it before it was
    sent, so the lease ends there no earlier than the proof does here. Should it all the same, by a defect of etcd's or
    by hand, then what the session has stands at least until the proof is over (`sessions/orphans.py`).
    """

    __slots__ = ("ttl", "until")

    def __init__(self, ttl: float, sent_at: float) -> None:
        self.ttl = ttl
        """Seconds."""
        self.until = sent_at + ttl
        """The moment the proof ends, in seconds of the monotonic clock."""

    def renewed(self, sent_at: float) -> None:
        """A renewal sent at that moment was confirmed. Late confirmations never shorten the proof."""
        self.until = max(self.until, sent_at + self.ttl)

    def remaining(self, now: float) -> float:
        """Seconds for which the lease is proven; 0 when it is not."""
        return max(0.0, self.until - now)

    @property
    def jeopardy_at(self) -> float:
        """When half a TTL has passed without a proof."""
        return self.until - self.ttl / 2

    def standing(self, now: float) -> Standing:
        """How sure it is that the lease lives."""
        if now >= self.until:
            return Standing.UNPROVEN
        return Standing.JEOPARDY if now >= self.jeopardy_at else Standing.SAFE
