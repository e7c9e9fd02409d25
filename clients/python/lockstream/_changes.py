"""Changes of what is held, or awaited, that have no reply yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream._errors import NotHeld

if TYPE_CHECKING:
    from asyncio import Future

    from lockstream._claims import Claim
    from lockstream._errors import LockstreamError
    from lockstream._link import Link
    from lockstream.v1 import session_pb2


class Change:
    """A request about one claim that is safe to repeat: a downgrade, a new value, a wish for others to yield."""

    __slots__ = ("answer", "claim", "request", "serial")

    def __init__(self, serial: int, claim: Claim, request: session_pb2.Request, answer: Future[None]) -> None:
        self.serial = serial
        self.claim = claim
        self.request = request
        self.answer = answer

    def fail(self, error: LockstreamError) -> None:
        """It was refused, or there is nothing left to change."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Changes:
    """The changes of one session that have no reply yet, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._open: dict[int, Change] = {}
        self._serial = 0

    def add(self, claim: Claim, request: session_pb2.Request, answer: Future[None]) -> Change:
        """A change, to be sent."""
        self._serial += 1
        change = self._open[self._serial] = Change(self._serial, claim, request, answer)
        return change

    def succeed(self, serial: int) -> None:
        """The change stands."""
        change = self._open.pop(serial, None)
        if change is not None and not change.answer.done():
            change.answer.set_result(None)

    def fail(self, serial: int, error: LockstreamError) -> None:
        """The change was refused."""
        change = self._open.pop(serial, None)
        if change is not None:
            change.fail(error)

    def send_again(self, link: Link) -> None:
        """Repeat them all: their replies were lost, or they never arrived."""
        for change in self._open.values():
            link.change(change)

    def forget(self, claim: Claim) -> None:
        """The claim is gone, and with it what was to be changed."""
        if self._open:
            for change in [change for change in self._open.values() if change.claim is claim]:
                del self._open[change.serial]
                loss = claim.hold.loss
                gone = NotHeld(f"lock {claim.name!r} is gone")
                change.fail(gone if loss is None else claim.hold.lock_lost(loss))
