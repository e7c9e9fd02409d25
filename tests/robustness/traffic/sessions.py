"""What both kinds of client offer to the traffic: the Python library, and one written on plain stubs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.robustness.history import Part


class Refused(Exception):
    """An operation failed."""

    def __init__(self, reason: str, *, settled: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.settled = settled
        """Whether it certainly had no effect and will have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """An acquire of one name or of several."""

    parts: tuple[Part, ...]
    owner: str
    wait: float | None = None
    """Seconds; 0 does not wait, None waits for ever."""
    value: bytes = b""
    max_hold: float | None = None
    lock_delay: float | None = None
    request_yield: bool = False
    reentrant: bool = False
    """Of the library only."""


class Hold(Protocol):
    """What was granted. Everything may raise Refused."""

    @property
    def acquire(self) -> int:
        """The acquire's identifier; 0 where it is not known."""

    @property
    def token(self) -> int:
        """The fencing token, another after an upgrade."""

    def listen(self, on_lost: Callable[[str], None]) -> None:
        """Call once with the reason when the hold is lost; at once if it is lost already."""

    @property
    def yield_requested(self) -> bool:
        """Whether it was asked to be given up."""

    async def release(self) -> None:
        """Give all of it up."""

    async def upgrade(self, wait: float | None) -> None:
        """Make it exclusive."""

    async def downgrade(self) -> None:
        """Make it shared."""

    async def set_value(self, value: bytes) -> None:
        """Say something else with it."""


class LockSession(Protocol):
    """One session. Everything may raise Refused."""

    @property
    def id(self) -> str:
        """Its name in the service; empty before it is open."""

    @property
    def ttl(self) -> float:
        """Granted, in seconds."""

    @property
    def grace(self) -> float:
        """Granted, in seconds."""

    @property
    def deadline(self) -> float | None:
        """The moment, by CLOCK_MONOTONIC, until which it may be believed in; None once it has ended."""

    async def open(self) -> None:
        """Begin it."""

    async def close(self) -> None:
        """End it; everything is free."""

    async def acquire(self, ask: Ask) -> Hold:
        """Acquire; a cancelled one leaves nothing behind."""

    async def request_yield(self, name: str) -> None:
        """Ask for what it waits for."""
