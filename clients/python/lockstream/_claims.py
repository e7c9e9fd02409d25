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

from lockstream._hold import Hold

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Iterable

    from lockstream._asks import Ask
    from lockstream._errors import LockstreamError


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
        "ask",
        "failure",
        "hold",
        "on_wait",
        "position",
        "shared",
        "state",
        "token",
        "unanswered",
        "until",
        "wait",
    )

    def __init__(
        self,
        acquire_id: int,
        ask: Ask,
        answer: Future[None],
        *,
        wait: float | None = None,
        until: float | None = None,
    ) -> None:
        """`wait` is None for ever, 0 for a try, else the seconds that are over at `until`."""
        self.acquire_id = acquire_id
        self.ask = ask
        self.answer = answer
        self.shared = ask.shared
        self.wait = wait
        self.until = until
        self.state = ClaimState.ASKED
        self.token = 0
        self.position = 0
        self.abandoned = False
        self.unanswered = False
        """Whether a request for it is under way on this stream: what the server says meanwhile is not its last word."""
        self.failure: LockstreamError | None = None
        self.on_wait: Callable[[int], None] | None = None
        self.hold = Hold(self)

    @property
    def name(self) -> str:
        """The name of the lock, or the first of several."""
        return self.ask.name

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every lock."""
        return self.ask.names

    @property
    def owner(self) -> str:
        """Who within the session asks."""
        return self.ask.owner

    def join(self, hold: Hold) -> None:
        """Become part of a lock."""
        self.hold = hold
        hold.claims.append(self)

    def part(self) -> None:
        """Be no part of the lock any more: what becomes of this is no news of that."""
        self.hold.claims.remove(self)
        self.hold = Hold(self)

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
        mode = "shared" if self.shared else "permits" if self.ask.permits else "exclusive"
        return f"<Claim {self.acquire_id} {self.name!r} {mode} {self.state.value} token={self.token}>"


class Departures:
    """Claims which nobody wants any more but the server may still have.

    The same owner must not ask for their names again before they are gone: the server might see it having both.
    """

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], list[Claim]] = {}

    def __bool__(self) -> bool:
        return bool(self._claims)

    def add(self, claim: Claim) -> None:
        """This one is on its way out."""
        for name in claim.names:
            self._claims.setdefault((name, claim.owner), []).append(claim)

    def remove(self, claim: Claim) -> None:
        """This one is gone."""
        for name in claim.names:
            key = (name, claim.owner)
            leaving = self._claims[key]
            leaving.remove(claim)
            if not leaving:
                del self._claims[key]

    def first(self, names: Iterable[str], owner: str) -> Claim | None:
        """One that stands in the way of this owner asking for these names, if any does."""
        for name in names:
            leaving = self._claims.get((name, owner))
            if leaving is not None:
                return leaving[0]
        return None
