"""The Session stream spoken by hand, for tests whose subject is what goes over the wire."""

import itertools
import re
from collections import deque
from typing import Self

import grpc
from google.protobuf import empty_pb2
from google.rpc import error_details_pb2, status_pb2

from lockstream.v1 import lock_pb2, service_pb2_grpc, session_pb2

Action = (
    session_pb2.Open
    | session_pb2.Resume
    | session_pb2.Heartbeat
    | session_pb2.Close
    | session_pb2.Acquire
    | session_pb2.AcquireAll
    | session_pb2.Upgrade
    | session_pb2.Downgrade
    | session_pb2.SetValue
    | session_pb2.RequestYield
    | session_pb2.Release
    | session_pb2.Cancel
)

Asking = session_pb2.Acquire | session_pb2.AcquireAll | session_pb2.Upgrade

NO_WAIT = empty_pb2.Empty()


def acquire(
    acquire_id: int, name: str, *, mode: lock_pb2.Mode.ValueType = lock_pb2.MODE_UNSPECIFIED, owner: str = ""
) -> session_pb2.Acquire:
    """An acquire that waits for ever; with an owner of its own unless one is stated."""
    return session_pb2.Acquire(acquire_id=acquire_id, name=name, mode=mode, owner=owner or f"owner-{acquire_id}")


def try_acquire(acquire_id: int, name: str) -> session_pb2.Acquire:
    """An acquire that does not wait."""
    request = acquire(acquire_id, name)
    request.no_wait.CopyFrom(NO_WAIT)
    return request


def permits(acquire_id: int, name: str, weight: int, limit: int) -> session_pb2.Acquire:
    """An acquire of so many permits of a limit, which waits for ever."""
    request = acquire(acquire_id, name, mode=lock_pb2.MODE_PERMITS)
    request.permits, request.limit = weight, limit
    return request


def acquire_all(acquire_id: int, *parts: str | session_pb2.AcquireAll.Part, owner: str = "") -> session_pb2.AcquireAll:
    """An acquire of several locks that waits for ever; those given as names are exclusive."""
    asked = [session_pb2.AcquireAll.Part(name=part) if isinstance(part, str) else part for part in parts]
    return session_pb2.AcquireAll(acquire_id=acquire_id, parts=asked, owner=owner or f"owner-{acquire_id}")


def upgrade(acquire_id: int, shared: session_pb2.Granted) -> session_pb2.Upgrade:
    """The upgrade of a shared hold that waits for ever."""
    return session_pb2.Upgrade(acquire_id=acquire_id, shared_acquire_id=shared.acquire_id, token=shared.token)


def release(granted: session_pb2.Granted) -> session_pb2.Release:
    """The release that fits a grant."""
    return session_pb2.Release(acquire_id=granted.acquire_id, token=granted.token)


def reason(error: status_pb2.Status) -> str:
    """The reason in the ErrorInfo of an error; empty when it has none."""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in error.details if detail.Unpack(info)), "")


class Wire:
    """One stream on a connection of its own.

    `send` writes a frame, `reply` and `event` read until the one asked for has come, `ask` does both.
    Whatever is read on the way is kept. Leaving `async with` cancels the call: the server sees it end.
    """

    def __init__(self, target: str) -> None:
        # One connection per stream: cutting it, or not reading from it, concerns no other.
        self._channel = grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        stub: service_pb2_grpc.LockServiceAsyncStub = service_pb2_grpc.LockServiceStub(self._channel)
        self.call = stub.Session()
        self._ids = itertools.count(1)
        self._replies: dict[int, session_pb2.Reply] = {}
        self._events: deque[session_pb2.Event] = deque()
        self.attached = session_pb2.Attached()
        """What the session was greeted with."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Break the connection without a word."""
        self.call.cancel()
        await self._channel.close()

    async def open(self, *, ttl: int = 10, grace: int | None = None) -> session_pb2.Attached:
        """Begin a session, which is kept for its TTL unless a grace is stated."""
        opening = session_pb2.Open(client_name="wire")
        opening.ttl.FromSeconds(ttl)
        if grace is not None:
            opening.detach_grace.FromSeconds(grace)
        self.attached = (await self.ask(opening)).attached
        return self.attached

    async def resume(self, attached: session_pb2.Attached) -> session_pb2.Attached:
        """Take up the session that another stream began."""
        resuming = session_pb2.Resume(session_id=attached.session_id, resume_token=attached.resume_token)
        reply = await self.ask(resuming)
        assert reply.HasField("attached"), reply
        self.attached = reply.attached
        self.attached.resume_token = attached.resume_token  # it stays as it is, and is not told again
        return self.attached

    async def hold(self, action: Asking) -> session_pb2.Granted:
        """Ask for what is free; the grant."""
        reply = await self.ask(action)
        assert reply.HasField("granted"), reply
        return reply.granted

    async def have(self, action: Asking) -> session_pb2.Granted:
        """Ask, and wait for the grant if need be. With other acquires waiting on this stream use `queue`."""
        reply = await self.ask(action)
        assert reply.HasField("granted") or reply.HasField("queued"), reply
        return reply.granted if reply.HasField("granted") else (await self.told("granted")).granted

    async def queue(self, action: Asking) -> session_pb2.Queued:
        """Ask for what is taken; the place in the queue."""
        reply = await self.ask(action)
        assert reply.HasField("queued"), reply
        return reply.queued

    async def refused(self, action: Action) -> str:
        """Ask for what is refused; the reason."""
        reply = await self.ask(action)
        assert reply.HasField("error"), reply
        return reason(reply.error)

    async def ask(self, action: Action) -> session_pb2.Reply:
        """Send one request and return its reply, whether that is a result or an error."""
        (request_id,) = await self.send(action)
        return await self.reply(request_id)

    async def send(self, *actions: Action) -> list[int]:
        """Send requests in one frame; their request ids."""
        requests = [_request(next(self._ids), action) for action in actions]
        await self.call.write(session_pb2.SessionRequest(requests=requests))
        return [request.request_id for request in requests]

    async def reply(self, request_id: int) -> session_pb2.Reply:
        """The reply to a request that was sent."""
        while request_id not in self._replies:
            await self._read()
        return self._replies.pop(request_id)

    async def event(self) -> session_pb2.Event:
        """The next event."""
        while not self._events:
            await self._read()
        return self._events.popleft()

    async def told(self, kind: str) -> session_pb2.Event:
        """The next event that is no change of position, which may come at any time; it must be of this kind."""
        while True:
            event = await self.event()
            if event.WhichOneof("event") != "position_changed":
                assert event.WhichOneof("event") == kind, event
                return event

    @property
    def unread(self) -> list[session_pb2.Event]:
        """Events that came before whatever was asked for, and were not asked for themselves."""
        return list(self._events)

    async def _read(self) -> None:
        frame = await self.call.read()
        if not isinstance(frame, session_pb2.SessionResponse):
            code = await self.call.code()
            raise EOFError(f"the server ended the stream with {code}")  # noqa: TRY004 - gRPC's EOF has a type of its own
        for response in frame.responses:
            if response.HasField("reply"):
                self._replies[response.reply.request_id] = response.reply
            else:
                self._events.append(response.event)


def _request(request_id: int, action: Action) -> session_pb2.Request:
    field = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(action).__name__).lower()
    request = session_pb2.Request(request_id=request_id)
    getattr(request, field).CopyFrom(action)
    # An empty message leaves no trace when it is copied: say that it is there.
    getattr(request, field).SetInParent()
    return request
