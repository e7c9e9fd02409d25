"""One acquire of a session, from the moment it is proposed until nothing in etcd is left of it.

PROPOSED --fold--> WAITING --fold--> HELD          its entries are written, queue, are granted
    |                 |                |
    +-----------------+----------------+--> LEAVING    release, cancel, timeout: their deletion is proposed
                                               |
                                             LEFT      deleted and told; gone once the fold shows it too
"""

import asyncio
from collections.abc import Sequence
from enum import Enum

from lockstream_server.core.errors import LockError
from lockstream_server.core.model import Entry, EntryRecord, Mode
from lockstream_server.store.keys import slot_of
from lockstream_server.store.port import Part


class State(Enum):
    """Where a claim stands."""

    PROPOSED = "proposed"
    WAITING = "waiting"
    HELD = "held"
    LEAVING = "leaving"
    LEFT = "left"


REQUESTS_PER_CLAIM = 256
"""Requests to change a claim, or to end it, that may await the store; one more is QUOTA_EXCEEDED."""

ACTIVE = frozenset({State.PROPOSED, State.WAITING, State.HELD})


class Claim:
    """One acquire of this session. It has one part, or one for each name of an acquire of several."""

    __slots__ = (
        "acquire",
        "deadline",
        "granted",
        "leavers",
        "left_at",
        "parts",
        "pending",
        "position",
        "request",
        "rewritten_at",
        "state",
        "timer",
        "token",
        "wait",
        "why",
    )

    def __init__(self, acquire: int, parts: Sequence[Part]) -> None:
        self.acquire = acquire
        self.parts = parts
        """What its entries say."""
        self.wait: float | None = None
        self.deadline: float | None = None
        """When the wait ends, by the event loop's clock; None for never."""
        self.state = State.PROPOSED
        self.token = 0
        self.granted = False
        """Whether all its entries were granted, told or not."""
        self.pending = len(parts)
        """Of its entries, those that were not granted yet; once it leaves, those whose deletion is not known yet."""
        self.position = 0
        """The place in the queue that was told last."""
        self.rewritten_at = 0
        """The revision that last changed what its entry says, if one has."""
        self.request: int | None = None
        """The acquire request, while it has no reply."""
        self.timer: asyncio.TimerHandle | None = None
        """The end of its wait, or of its hold."""
        self.why: LockError | None = None
        """What ends it without its client's release: given to whoever still awaits the grant."""
        self.leavers: list[tuple[int, bool]] | None = None
        """Requests to be answered once it has left: the request, and whether it is a cancel."""
        self.left_at = 0
        """The revision by which its entries were deleted."""

    @property
    def name(self) -> str:
        """The name of its first part."""
        return self.parts[0].name

    @property
    def record(self) -> EntryRecord:
        """What the entry of its first part says, with the mode, owner and terms."""
        return self.parts[0].record

    @property
    def mode(self) -> Mode:
        """The mode of its first part."""
        return self.parts[0].record.mode

    @property
    def active(self) -> bool:
        """Whether it holds or awaits its lock, as far as the client is concerned."""
        return self.state in ACTIVE

    @property
    def ends_by_itself(self) -> bool:
        """Whether it is on its way out without its client's release or cancel."""
        return self.state is State.LEAVING and not self.leavers

    def has(self, entry: Entry) -> bool:
        """Whether the entry is one of its own.

        It is not if it was written late, by a first attempt of this acquire or of another that the client gave the
        same identifier.
        """
        for part in self.parts:
            if part.name == entry.name:
                if part.slot != slot_of(entry.key) or self.token not in (0, entry.token):
                    return False
                known, found = part.record, entry.record
                return self.granted or known == found or known.asks_for() == found.asks_for()
        return False

    def stop_timer(self) -> None:
        """Nothing ends by itself any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def __repr__(self) -> str:
        names = ", ".join(repr(part.name) for part in self.parts)
        return f"<{self.acquire}: {self.mode.value} {names} {self.state.value} token={self.token}>"
