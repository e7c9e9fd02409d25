"""A client that stops reading."""

import asyncio
from collections.abc import Sequence

import grpc
from google.rpc import error_details_pb2, status_pb2

from lockstream.v1 import service_pb2_grpc, session_pb2

STALLED_SECONDS = 0.5
"""A frame that could not be written for this long is one that the server does not read."""


class Deaf:
    """A stream whose client reads until its first acquires are answered, and then only writes.

    Give it a channel with a connection of its own: what one stream does not read, others may have to wait for.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub: service_pb2_grpc.LockServiceAsyncStub = service_pb2_grpc.LockServiceStub(channel)
        self._call = stub.Session()
        self.attached = session_pb2.Attached()
        self._writing: asyncio.Task[None] | None = None

    async def ask(self, names: Sequence[str], *, ttl: int) -> None:
        """Open a session and acquire locks, the first as 1, reading for the last time: each is held now, or queued."""
        opening = session_pb2.Request(open=session_pb2.Open(client_name="deaf"))
        opening.open.ttl.FromSeconds(ttl)
        acquires = [
            session_pb2.Request(acquire=session_pb2.Acquire(acquire_id=number, name=name))
            for number, name in enumerate(names, 1)
        ]
        await self._call.write(session_pb2.SessionRequest(requests=[opening, *acquires]))
        answered = 0
        while answered < len(names):
            frame = await self._call.read()
            if not isinstance(frame, session_pb2.SessionResponse):
                raise EOFError(f"the server ended the stream with {await self._call.code()}")  # noqa: TRY004 - as Wire
            for response in frame.responses:
                if response.reply.HasField("attached"):
                    self.attached = response.reply.attached
                answered += response.reply.HasField("granted") or response.reply.HasField("queued")

    async def stuff(self) -> None:
        """Cause replies, and read none, until the server takes no more requests either."""
        # No name is refused, at more length than anything else is answered.
        refused = [session_pb2.Request(request_id=2**63, acquire=session_pb2.Acquire(acquire_id=2**62))] * 1000
        while True:
            writing = asyncio.ensure_future(self._call.write(session_pb2.SessionRequest(requests=refused)))
            done, _ = await asyncio.wait((writing,), timeout=STALLED_SECONDS)
            if not done:
                self._writing = writing
                return
            await writing

    async def end(self) -> grpc.aio.AioRpcError:
        """Read whatever there is, and what ends the stream."""
        try:
            while isinstance(await self._call.read(), session_pb2.SessionResponse):
                pass
        except grpc.aio.AioRpcError as error:
            return error
        finally:
            if self._writing is not None:
                self._writing.cancel()
                await asyncio.gather(self._writing, return_exceptions=True)
        raise EOFError("the server ended the stream in good order")


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason in the ErrorInfo of a call that failed; empty when it has none."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(details, bytes)
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status_pb2.Status.FromString(details).details if detail.Unpack(info)), "")
