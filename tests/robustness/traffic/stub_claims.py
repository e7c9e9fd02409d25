"""The acquires of the client on stubs, and the messages that ask for them."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.protobuf import duration_pb2, empty_pb2

from lockstream.v1 import lock_pb2, session_pb2
from tests.robustness.traffic.sessions import Ask, Refused

if TYPE_CHECKING:
    from tests.robustness.traffic.stub_session import StubSession

MODES = {"exclusive": lock_pb2.MODE_EXCLUSIVE, "shared": lock_pb2.MODE_SHARED, "permits": lock_pb2.MODE_PERMITS}


class Claim:
    """One acquire: asked for, queued, held, or over."""

    def __init__(self, request: session_pb2.Request, acquire: int) -> None:
        self.request = request
        self.acquire = acquire
        self.token = 0
        self.queued = False
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.granted.add_done_callback(forget)
        self.lost: str | None = None
        self.yield_requested = False
        self.on_lost: Callable[[str], None] | None = None

    def grant(self, token: int) -> None:
        """It is held."""
        if not self.granted.done():
            self.token = token
            self.granted.set_result(None)

    def fail(self, error: Refused) -> None:
        """It will not be granted."""
        if not self.granted.done():
            self.granted.set_exception(error)

    def lose(self, reason: str) -> None:
        """It is held no longer, or never will be."""
        if not self.granted.done():
            self.fail(Refused(reason, settled=False))
        elif self.lost is None:
            self.lost = reason
            if self.on_lost is not None:
                self.on_lost(reason)

    @property
    def held(self) -> bool:
        """Whether it was granted, and not lost since."""
        return self.granted.done() and self.granted.exception() is None and self.lost is None


class StubHold:
    """A hold: one claim, or a shared one and its upgrade."""

    def __init__(self, session: "StubSession", claim: Claim) -> None:
        self._session = session
        self._claims = [claim]
        self._on_lost: Callable[[str], None] | None = None

    @property
    def acquire(self) -> int:
        """As `Hold`."""
        return self._claims[-1].acquire

    @property
    def token(self) -> int:
        """As `Hold`."""
        return self._claims[-1].token

    @property
    def yield_requested(self) -> bool:
        """As `Hold`."""
        return any(claim.yield_requested for claim in self._claims)

    def listen(self, on_lost: Callable[[str], None]) -> None:
        """As `Hold`."""
        self._on_lost = on_lost
        self._attend(self._claims[-1])

    async def release(self) -> None:
        """As `Hold`. One part that is lost does not keep the other."""
        results = await asyncio.gather(*map(self._session.release, reversed(self._claims)), return_exceptions=True)
        for error in results:
            if error is not None:
                raise error

    async def upgrade(self, wait: float | None) -> None:
        """As `Hold`. What an earlier upgrade stood on is given up: an upgrade has one shared hold."""
        while len(self._claims) > 1:
            await self._session.release(self._claims.pop(0))
        [shared] = self._claims
        upgrade = session_pb2.Upgrade(shared_acquire_id=shared.acquire, token=shared.token)
        claim = await self._session.claim(session_pb2.Request(upgrade=upgrade), wait)
        self._claims.append(claim)
        self._attend(claim)

    async def downgrade(self) -> None:
        """As `Hold`."""
        downgrade = session_pb2.Downgrade(acquire_id=self.acquire, token=self.token)
        await self._session.repeat(session_pb2.Request(downgrade=downgrade))

    async def set_value(self, value: bytes) -> None:
        """As `Hold`."""
        change = session_pb2.SetValue(acquire_id=self.acquire, token=self.token, value=value)
        await self._session.repeat(session_pb2.Request(set_value=change))

    def _attend(self, claim: Claim) -> None:
        """Tell of the loss of the whole when this part is lost, which may have happened already."""
        claim.on_lost = self._lost
        if claim.lost is not None:
            self._lost(claim.lost)

    def _lost(self, reason: str) -> None:
        if self._on_lost is not None:
            self._on_lost(reason)


def acquire_request(ask: Ask) -> session_pb2.Request:
    """The message that asks, but for its identifier and its wait."""
    if len(ask.parts) > 1:
        several = session_pb2.AcquireAll(owner=ask.owner)
        for part in ask.parts:
            several.parts.add(name=part.name, mode=MODES[part.mode], permits=part.permits, limit=part.limit)
        return session_pb2.Request(acquire_all=several)
    [part] = ask.parts
    acquire = session_pb2.Acquire(
        name=part.name,
        mode=MODES[part.mode],
        owner=ask.owner,
        permits=part.permits,
        limit=part.limit,
        value=ask.value,
        request_yield=ask.request_yield,
    )
    if ask.max_hold is not None:
        acquire.max_hold.CopyFrom(duration(ask.max_hold))
    if ask.lock_delay is not None:
        acquire.lock_delay.CopyFrom(duration(ask.lock_delay))
    return session_pb2.Request(acquire=acquire)


def say_wait(request: session_pb2.Request, acquire: int, wait: float | None) -> None:
    """Complete an acquire of any kind: its identifier, and how long it may wait."""
    match request.WhichOneof("action"):
        case "acquire":
            _say_wait(request.acquire, acquire, wait)
        case "acquire_all":
            _say_wait(request.acquire_all, acquire, wait)
        case _:
            _say_wait(request.upgrade, acquire, wait)


def _say_wait(
    asking: session_pb2.Acquire | session_pb2.AcquireAll | session_pb2.Upgrade, acquire: int, wait: float | None
) -> None:
    asking.acquire_id = acquire
    if wait is None:
        asking.forever.CopyFrom(empty_pb2.Empty())
    elif wait == 0:
        asking.no_wait.CopyFrom(empty_pb2.Empty())
    else:
        asking.timeout.CopyFrom(duration(wait))


def duration(seconds: float) -> duration_pb2.Duration:
    """Seconds as the protocol has them."""
    message = duration_pb2.Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def forget(future: "asyncio.Future[Any]") -> None:
    """Let a failure that nobody waits for pass."""
    if not future.cancelled():
        future.exception()
