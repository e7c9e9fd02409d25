"""What one lock consists of in a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream._errors import LockLost, NotHeld

if TYPE_CHECKING:
    from collections.abc import Callable

    from lockstream._claims import Claim
    from lockstream._errors import LockstreamError
    from lockstream._reasons import LossNotice, LossReason


class Hold:
    """The claims of one lock: a single one, or a shared one and the upgrade above it.

    They are lost together and released together. `top` is the one whose token counts; above it is at most an upgrade
    that waits, below it what an earlier upgrade stood on.
    """

    __slots__ = ("claims", "listeners", "loss", "on_yield", "top", "yield_requested")

    def __init__(self, claim: Claim) -> None:
        self.claims = [claim]
        """Those which the server may still have, the oldest first."""
        self.top = claim
        self.loss: LossNotice | None = None
        self.listeners: list[Callable[[LossReason | None], None]] = []
        """Called when the lock is lost, with the reason, or is being released, with None."""
        self.on_yield: Callable[[float | None], None] | None = None
        self.yield_requested = False

    def tell(self, reason: LossReason | None) -> None:
        """The lock is lost, or is being released."""
        for listener in tuple(self.listeners):
            listener(reason)

    def ask_to_yield(self, remaining: float | None) -> None:
        """Somebody waits, or the hold has `remaining` seconds left."""
        self.yield_requested = True
        if self.on_yield is not None:
            self.on_yield(remaining)

    def lock_lost(self, notice: LossNotice) -> LockLost:
        """The exception that tells of such a loss."""
        return LockLost(self.top.name, self.top.token, *notice)

    def error(self) -> LockstreamError:
        """Why nothing can be done with a lock that is held no longer."""
        if self.loss is not None:
            return self.lock_lost(self.loss)
        return NotHeld(f"lock {self.top.name!r} was released already")
