"""The Python client library, as the traffic sees it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lockstream
from tests.robustness.traffic.sessions import Ask, Refused


@contextmanager
def refusals() -> Iterator[None]:
    """Errors of the library become refusals."""
    try:
        yield
    except lockstream.LockstreamError as error:
        reason = error.reason.name if error.reason is not None else type(error).__name__
        raise Refused(reason, settled=error.outcome_settled) from error


class LibraryHold:
    """A lock of the library."""

    acquire = 0  # the library does not tell

    def __init__(self, lock: lockstream.Lock) -> None:
        self._lock = lock

    @property
    def token(self) -> int:
        """As `Hold`."""
        return self._lock.token

    def listen(self, on_lost: Callable[[str], None]) -> None:
        """As `Hold`."""
        reason = self._lock.lost.reason
        if reason is not None:
            on_lost(reason.name)
        else:
            self._lock.listen(lambda reason: None if reason is None else on_lost(reason.name))

    @property
    def yield_requested(self) -> bool:
        """As `Hold`."""
        return self._lock.yield_requested

    async def release(self) -> None:
        """As `Hold`."""
        with refusals():
            await self._lock.release()

    async def upgrade(self, wait: float | None) -> None:
        """As `Hold`."""
        with refusals():
            await self._lock.upgrade(wait=wait)

    async def downgrade(self) -> None:
        """As `Hold`."""
        with refusals():
            await self._lock.downgrade()

    async def set_value(self, value: bytes) -> None:
        """As `Hold`."""
        with refusals():
            await self._lock.set_value(value, {"by": "traffic"})


class LibrarySession:
    """A session of the library."""

    def __init__(self, client: lockstream.Client, *, ttl: float, grace: float | None) -> None:
        self.library = client.session(ttl=ttl, grace=grace)
        """For what only the library offers."""

    @property
    def id(self) -> str:
        """As `LockSession`."""
        return self.library.id

    @property
    def ttl(self) -> float:
        """As `LockSession`."""
        return self.library.ttl

    @property
    def grace(self) -> float:
        """As `LockSession`."""
        return self.library.grace

    @property
    def deadline(self) -> float | None:
        """As `LockSession`: the event loop's clock is CLOCK_MONOTONIC."""
        if self.library.ended is not None:
            return None
        return time.monotonic() + self.library.remaining

    async def open(self) -> None:
        """As `LockSession`."""
        with refusals():
            await self.library.open()

    async def close(self) -> None:
        """As `LockSession`."""
        with refusals():
            await self.library.__aexit__(None, None, None)

    async def acquire(self, ask: Ask) -> LibraryHold:
        """As `LockSession`."""
        with refusals():
            if len(ask.parts) > 1:
                parts = [
                    lockstream.Part(part.name, part.mode == "shared", part.permits or None, part.limit or None)
                    for part in ask.parts
                ]
                return LibraryHold(await self.library.acquire_all(parts, wait=ask.wait, owner=ask.owner))
            [part] = ask.parts
            lock = await self.library.acquire(
                part.name,
                shared=part.mode == "shared",
                permits=part.permits or None,
                limit=part.limit or None,
                wait=ask.wait,
                owner=ask.owner,
                value=ask.value,
                max_hold=ask.max_hold,
                lock_delay=ask.lock_delay,
                request_yield=ask.request_yield,
                reentrant=ask.reentrant,
            )
            return LibraryHold(lock)

    async def request_yield(self, name: str) -> None:
        """As `LockSession`."""
        with refusals():
            await self.library.request_yield(name)
