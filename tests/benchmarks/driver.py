"""What a lock system must offer to be measured: one small driver per system implements this."""

from collections.abc import Sequence
from typing import Protocol


class Worker(Protocol):
    """One client of locks; it waits for or holds at most one lock at a time."""

    async def acquire(self, name: str) -> None:
        """Return once this worker knows that it holds the lock `name`."""

    async def release(self) -> None:
        """Give the held lock up and return when that is acknowledged."""


class Driver(Protocol):
    """A connection to a lock system."""

    async def open_workers(self, count: int) -> Sequence[Worker]:
        """Make `count` workers ready, with every lease or session they need."""

    def queue_prefix(self, name: str) -> str:
        """The etcd key prefix under which each holder and waiter of `name` has one key."""

    async def close(self) -> None:
        """Free what the workers hold, and disconnect."""
