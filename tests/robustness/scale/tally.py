"""What becomes of the sessions of a crowd, as its process writes it down several times a second."""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True, kw_only=True)
class Tally:
    """How the sessions of a process are, and what has happened to them since its start unless stated otherwise."""

    at: float = 0.0
    """When it was written, by the monotonic clock, which all processes of a machine share."""
    attached: int = 0
    """Sessions with a stream, whose lock is held, now."""
    attachments: int = 0
    """How often one was opened, or resumed with its lock."""
    attached_at: float = 0.0
    """When that last happened."""
    lost: int = 0
    """Sessions that are gone, or whose lock is."""
    loss: str = ""
    """Why, of the last."""
    refusals: int = 0
    """Streams which ended before the session was attached."""
    refusal: str = ""
    """Why, of the last."""
    endangered: int = 0
    """Sessions that have been told of jeopardy and of nothing better since, now."""
    dangers: int = 0
    """How often one was told of jeopardy: of half a TTL without a proof."""
    proven: float = float("inf")
    """The least that the server said a lease is proven for, in seconds, since the last tally."""
    waits: list[float] = field(default_factory=list)
    """What each acquire of the bystander took, in seconds, since the last tally."""

    def attach(self) -> None:
        """A session was opened or resumed, and holds its lock."""
        self.attached += 1
        self.attachments += 1
        self.attached_at = time.monotonic()

    def lose(self, why: str) -> None:
        """A session or its lock is gone."""
        self.lost += 1
        self.loss = why

    def refuse(self, why: str) -> None:
        """A stream ended before the session was attached."""
        self.refusals += 1
        self.refusal = why

    def prove(self, seconds: float) -> None:
        """The server said that a lease is proven for so long."""
        self.proven = min(self.proven, seconds)

    def take(self) -> str:
        """The tally as a line. What counts from one to the next begins anew."""
        self.at = time.monotonic()
        line = json.dumps(dataclasses.asdict(self))
        self.proven = float("inf")
        self.waits = []
        return line

    @classmethod
    def parse(cls, line: str) -> Self:
        """The tally of a line."""
        return cls(**json.loads(line))
