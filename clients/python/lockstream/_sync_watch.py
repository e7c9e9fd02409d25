"""Blocking iterators over what the asynchronous watches tell."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from lockstream._errors import WrongState

if TYPE_CHECKING:
    from lockstream._portal import Portal

T = TypeVar("T")
Told_co = TypeVar("Told_co", covariant=True)


class Source(Protocol[Told_co]):
    """A watch of the asynchronous client."""

    async def __anext__(self) -> Told_co:
        """What is told next."""

    async def close(self) -> None:
        """End it."""


class Watch(Generic[T]):
    """As `lockstream.LockWatch` or `lockstream.LeaderWatch`, blocking: an iterator, to be closed.

        with client.watch_locks(prefix="reports/") as watch:
            for told in watch:
                ...

    `close`, from any thread, and the end of the client end it. Ctrl-C interrupts the wait, and loses nothing.
    """

    def __init__(self, portal: Portal, source: Source[T]) -> None:
        self._portal = portal
        self._source = source
        self._untaken: deque[T] = deque()

    def close(self) -> None:
        """End it: a thread that waits for it sees the end at once."""
        with suppress(WrongState):  # the client is closed, and so is this
            self._portal.call(self._source.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """What is told next. It blocks until there is something."""
        try:
            return self._portal.call(self._next, undo=self._put_back)
        except StopAsyncIteration:
            raise StopIteration from None
        except WrongState:
            if self._portal.closed:  # the end of the client was its end
                raise StopIteration from None
            raise

    async def _next(self) -> T:
        return self._untaken.popleft() if self._untaken else await self._source.__anext__()

    async def _put_back(self, told: T) -> None:
        """It came just when whoever waited for it was interrupted."""
        self._untaken.append(told)
