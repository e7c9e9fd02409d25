"""The bounded, numbered queue between a session and its stream; the only way to a client."""

import asyncio
from collections.abc import Callable, Sequence

from lockstream_server.core.messages import Event, Happening, Message, Outcome, Reply


class Outbox:
    """Messages on their way to one client, for one writer to take.

    Events are bounded: one more than the limit marks the outbox as overflowed, and nothing is sent any more; the client
    then resumes and learns everything from the snapshot, so no event is dropped silently. Replies are bounded by the
    reader, which takes no more requests while too many messages wait here.
    """

    __slots__ = ("_closed", "_events", "_limit", "_overflow", "_room", "_sequence", "_waiter", "messages", "overflowed")

    def __init__(self, limit: int, overflow: Callable[[], object]) -> None:
        """`limit` is in events; `overflow` is called when one more is pushed."""
        self._limit = limit
        self._overflow = overflow
        self._events = 0
        self._sequence = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.messages: list[Message] = []
        self.overflowed = False

    def __repr__(self) -> str:
        state = "overflowed" if self.overflowed else "closed" if self._closed else "open"
        return f"Outbox({state}, {len(self.messages)} waiting, {self._sequence} events so far)"

    def reply(self, request_id: int, outcome: Outcome) -> None:
        """Send the reply to a request."""
        if not self._closed:
            self.messages.append(Reply(request_id, outcome))
            self._wake()

    def push(self, happening: Happening) -> None:
        """Send an event."""
        if self._closed:
            return
        if self._events >= self._limit:
            self.overflowed = True
            self.messages.clear()
            self.close()
            self._overflow()
            return
        self._events += 1
        self._sequence += 1
        self.messages.append(Event(self._sequence, happening))
        self._wake()

    def close(self) -> None:
        """Take no more messages. Those that wait can still be taken."""
        self._closed = True
        self._wake()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def take(self, most: int) -> Sequence[Message]:
        """The next messages, as soon as there are any; none when the outbox is closed and empty."""
        while not self.messages and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        taken = self.messages[:most]
        del self.messages[:most]
        self._events -= sum(type(message) is Event for message in taken)
        if self._room is not None and len(self.messages) < self._limit:
            if not self._room.done():  # the outbox was closed, or whoever waited is gone
                self._room.set_result(None)
            self._room = None
        return taken

    async def room(self) -> None:
        """Wait until fewer messages wait than the limit."""
        while len(self.messages) >= self._limit and not self._closed:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
