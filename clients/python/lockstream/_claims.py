"""One acquire of a session, from the asking to the end.

    ASKED ----> QUEUED ----> HELD ----> RELEASING ----> ENDED
      |           |           |                           ^
      +-----------+-----------+------> LEAVING -----------+

ASKED has no reply yet; QUEUED waits for its turn; HELD is ours; RELEASING has no reply to its
release yet; LEAVING was given up by the caller and has no reply to its cancel yet. Any state ends
when the session does.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from lockstream._errors import LockstreamError
    from lockstream._reasons import LossReason


class ClaimState(enum.Enum):
    """Where an acquire stands, as far as this client knows."""

    ASKED = "asked"
    QUEUED = "queued"
    HELD = "held"
    RELEASING = "releasing"
    LEAVING = "leaving"
    ENDED = "ended"


class Claim:
    """One acquire. `answer` is what its caller awaits at the moment: the grant, or the release."""

    __slots__ = (
        "abandoned",
        "acquire_id",
        "answer",
        "failure",
        "loss",
        "name",
        "on_lost",
        "on_wait",
        "owner",
        "position",
        "shared",
        "state",
        "token",
        "until",
        "wait",
    )

    def __init__(
        self,
        acquire_id: int,
        name: str,
        owner: str,
        answer: Future[None],
        *,
        shared: bool = False,
        wait: float | None = None,
        until: float | None = None,
    ) -> None:
        """`wait` is None for ever, 0 for a try, else the seconds that are over at `until`."""
        self.acquire_id = acquire_id
        self.name = name
        self.owner = owner
        self.answer = answer
        self.shared = shared
        self.wait = wait
        self.until = until
        self.state = ClaimState.ASKED
        self.token = 0
        self.position = 0
        self.abandoned = False
        self.loss: LossReason | None = None
        self.failure: LockstreamError | None = None
        self.on_wait: Callable[[int], None] | None = None
        self.on_lost: Callable[[LossReason], None] | None = None

    def resolve(self) -> None:
        """What the caller awaits has come about."""
        if not self.answer.done():
            self.answer.set_result(None)

    def fail(self, error: LockstreamError) -> None:
        """What the caller awaits will not come about.

        Whoever waits for it to be gone is content with that too.
        """
        self.failure = error
        if self.abandoned:
            self.resolve()
        elif not self.answer.done():
            self.answer.set_exception(error)

    def __repr__(self) -> str:
        mode = "shared" if self.shared else "exclusive"
        return f"<Claim {self.acquire_id} {self.name!r} {mode} {self.state.value} token={self.token}>"
