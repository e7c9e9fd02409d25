"""One call of the Session method: a task that reads frames and a task that writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc

from lockstream._errors import LockstreamError
from lockstream._link import Link
from lockstream._translation import from_rpc
from lockstream.v1 import session_pb2

if TYPE_CHECKING:
    from lockstream._channels import Channel

Receive = Callable[[Link, session_pb2.SessionResponse], None]


class Stream:
    """Carries a link's requests to the server and the server's frames to `receive`.

    `ended` is called once, when nothing more will be read: after `close`, with what broke the
    stream (`error`), or when the server ended it with OK.

    A connection ends with the last reference to its calls. So that it does not outlive its streams until the garbage
    collector comes by, neither the traceback of a cancelled task nor the link keeps a reference to a closed stream.
    """

    def __init__(
        self,
        channel: Channel,
        link: Link,
        receive: Receive,
        ended: Callable[[Stream], None],
    ) -> None:
        self.channel = channel
        self.link = link
        self._receive = receive
        self.closed = False
        self.error: LockstreamError | None = None
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] | None = None
        link.wake = self._wake
        channel.streams += 1
        self._call = channel.stub.Session()
        self._reader = self._loop.create_task(self._read(), name="lockstream reader")
        self._reader.add_done_callback(lambda _: ended(self))
        self._writer = self._loop.create_task(self._write(), name="lockstream writer")

    def close(self) -> None:
        """Leave the stream. To the server this is a detachment, not an end of the session."""
        self.closed = True
        self.link.wake = _nothing
        self._call.cancel()
        self._writer.cancel()
        self._reader.cancel()

    async def wait_closed(self) -> None:
        """Wait for the tasks to end, after `close`."""
        await asyncio.wait((self._reader, self._writer))

    def _wake(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    async def _write(self) -> None:
        take, write = self.link.take, self._call.write
        try:
            while True:
                frame = take()
                if frame is None:
                    # Everybody who is ready in this turn of the loop adds to the frame before this
                    # task runs again.
                    self._ready = self._loop.create_future()
                    await self._ready
                else:
                    await write(frame)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            pass  # the call ended; the reader learns why

    async def _read(self) -> None:
        read, receive, link = self._call.read, self._receive, self.link
        try:
            while isinstance(frame := await read(), session_pb2.SessionResponse):
                receive(link, frame)
        except grpc.aio.AioRpcError as error:
            self.error = from_rpc(error)
        except asyncio.CancelledError:
            pass  # left by `close`
        finally:
            self._writer.cancel()
            self._call.cancel()


def _nothing() -> None:
    """Nobody is to be woken any more."""
