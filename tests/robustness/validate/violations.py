"""What a check says when a promise was not kept."""

from typing import NamedTuple


class Violation(NamedTuple):
    """One promise that was not kept, in words for a person who looks for the cause."""

    check: str
    """Which promise."""
    subject: str
    """The lock, the session, or whatever else it happened to."""
    text: str
    """What happened, with times by CLOCK_MONOTONIC in seconds."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.check}: {self.subject}: {self.text}"
