"""Calls of the Session method through the simulated network: both ends, as gRPC shows them to client and server."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import grpc

from lockstream._channels import Channel, Channels
from lockstream.v1 import service_pb2_grpc, session_pb2
from tests.simulation.processes import Process, State

if TYPE_CHECKING:
    pass

from tests.simulation.network import LEAST_DELAY, Inbox, Network, Pipe

REFUSAL = 0.002
"""Seconds until a client learns that nobody listens."""
KEEPALIVE = 15.0
"""Seconds after which either end is certain to learn that the other one is silent."""


class Host(Protocol):
    """A server, as the network sees it."""

    process: Process

    def accept(self, call: "Call") -> Coroutine[Any, Any, None]:
        """The handler of a new call."""


class Call:
    """One call of the Session method: both of its ends, each used by its own process only."""

    def __init__(self, network: Network, client: Process, host: Host) -> None:
        self.network = network
        self.client = client
        self.server = host.process
        self._host = host
        self._replies = Inbox()
        self._requests = Inbox()
        self._handler: asyncio.Task[None] | None = None
        self._left = False
        self._over = False
        self._status: grpc.aio.AioRpcError | None = None
        self._up = Pipe(network, client, self.server, self._heard_request)
        self._down = Pipe(network, self.server, client, self._heard_reply)
        self._unread = 0
        self._writable: asyncio.Future[None] | None = None
        self.window = 64
        """Frames that the server may write before the client has read one of them."""
        network.calls[self] = None
        if self.server.state is State.DEAD:
            self._up.cut = self._down.cut = True
            network.after(REFUSAL, client, self._client_learns)
        elif network.separates(client, self.server):
            self.lose(up=True, down=True)
        else:
            self._up.send(_BEGIN)

    def __repr__(self) -> str:
        return f"<call {self.client.name} -> {self.server.name}>"

    # The client's end, as `grpc.aio.StreamStreamCall` has it.

    async def read(self) -> Any:
        """The next frame, or EOF. Raises AioRpcError when the call failed."""
        frame = await self._replies.take()
        if self._unread:
            self._unread -= 1
            if self._writable is not None:
                self.network.after(self.network.delay(), self.server, self._allow)
        return frame

    async def write(self, frame: session_pb2.SessionRequest) -> None:
        """Send a frame. Raises InvalidStateError when the call is over."""
        if self._replies.ended or self._left:
            raise asyncio.InvalidStateError("the call is over")
        self.network.trace.frame(self.client, self.server, frame)
        self._up.send(frame)

    def cancel(self) -> None:
        """Leave the call."""
        if not self._left:
            self._left = True
            self._replies.finish(asyncio.CancelledError())
            self._up.send(_CANCEL)
            self._down.cut = True
            self._forget()

    # The server's end, as `grpc.aio.ServicerContext` has it.

    async def next_request(self) -> Any:
        """The next frame, or EOF."""
        return await self._requests.take()

    async def reply(self, frame: session_pb2.SessionResponse) -> None:
        """Send a frame, as soon as the client has read enough of those before."""
        while self._unread >= self.window and not self._over:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable
        if self._over:
            raise grpc.aio.UsageError("the call is over")
        self._unread += 1
        self.network.trace.frame(self.server, self.client, frame)
        self._down.send(frame)

    def fail(self, code: grpc.StatusCode, detail: str, trailing: Any) -> None:
        """The handler ends the call with this status."""
        self._status = _failure(code, detail, trailing)

    def finish(self) -> None:
        """The handler has returned: its status follows what it wrote."""
        self._over = True
        self._down.send(_End(self._status or grpc.aio.EOF))

    @property
    def over(self) -> bool:
        """Whether the server knows that the call is over."""
        return self._over

    # What happens to it.

    def break_up(self, *, lose: bool) -> None:
        """The connection breaks; each end learns of it in its time. What is under way is lost, or may arrive before."""
        random = self.network.random
        if lose:
            self._up.cut = self._down.cut = True
        for process, learn in ((self.client, self._client_learns), (self.server, self._server_learns)):
            seconds = KEEPALIVE * random.random() ** 4 + LEAST_DELAY
            self.network.after(seconds, process, learn)
        self._forget()

    def lose(self, *, up: bool, down: bool) -> None:
        """One or both directions swallow everything from now on; keepalives tell in the end."""
        self._up.cut = self._up.cut or up
        self._down.cut = self._down.cut or down
        for process, learn in ((self.client, self._client_learns), (self.server, self._server_learns)):
            self.network.after(KEEPALIVE, process, learn)
        self._forget()

    def stall(self, seconds: float, *, up: bool, down: bool) -> None:
        """Messages take that much longer, in order."""
        if up:
            self._up.stall(seconds)
        if down:
            self._down.stall(seconds)

    def died(self, process: Process, *, silently: bool) -> None:
        """One end was killed. The other one is told by its system, or by nobody."""
        self._up.cut = self._down.cut = True
        delay = KEEPALIVE if silently else self.network.delay()
        if process is self.server:
            self.network.after(delay, self.client, self._client_learns)
        else:
            self.network.after(delay, self.server, self._server_learns)
        self._forget()

    def _client_learns(self) -> None:
        self._down.cut = True
        self._replies.finish(_failure(grpc.StatusCode.UNAVAILABLE, "the connection broke", ()))
        self._forget()

    def _server_learns(self) -> None:
        """The requests end; the handler is cancelled after it had the chance to see that."""
        if self._over:
            return
        self._up.cut = self._down.cut = True
        self._over = True
        self._requests.finish(grpc.aio.EOF)
        self._allow()
        if self._handler is not None:
            self.server.call_soon(self._handler.cancel)
        self._forget()

    def _heard_request(self, item: Any) -> None:
        if item is _BEGIN:
            self._handler = self.server.create_task(self._host.accept(self))
        elif item is _CANCEL:
            self._server_learns()
        else:
            self._requests.put(item)

    def _heard_reply(self, item: Any) -> None:
        if isinstance(item, _End):
            self._replies.finish(item.status)
            self._forget()
        else:
            self._replies.put(item)

    def _allow(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _forget(self) -> None:
        self.network.calls.pop(self, None)


class _End:
    """The server's status, as the last item of its stream."""

    def __init__(self, status: Any) -> None:
        self.status = status


_BEGIN = object()
_CANCEL = object()


def _failure(code: grpc.StatusCode, detail: str, trailing: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), detail)


class Context:
    """The server's end of a call, for the real handler."""

    def __init__(self, call: Call) -> None:
        self.read = call.next_request
        self.write = call.reply
        self._call = call

    async def abort(self, code: grpc.StatusCode, detail: str = "", trailing_metadata: Any = ()) -> None:
        """End the call with a status. Raises AbortError."""
        self._call.fail(code, detail, trailing_metadata)
        raise grpc.aio.AbortError


class _Stub:
    """What a channel calls."""

    def __init__(self, session: Callable[[], Call]) -> None:
        self.Session = session


class SimulatedChannel(Channel):
    """A channel whose calls go through the simulated network."""

    def __init__(self, network: Network, client: Process, endpoint: str, host: Host) -> None:
        self.endpoint = endpoint
        self.streams = 0
        self.stub = cast("service_pb2_grpc.LockServiceAsyncStub", _Stub(partial(Call, network, client, host)))

    async def close(self) -> None:
        """Nothing is kept open beside the calls, each of which its stream cancels."""


class SimulatedChannels(Channels):
    """The channels of a client to the servers of the world."""

    def __init__(self, network: Network, client: Process, hosts: dict[str, Host]) -> None:
        super().__init__([*hosts], None)
        self._network = network
        self._client = client
        self._hosts = hosts

    def _connect(self, endpoint: str) -> Channel:
        return SimulatedChannel(self._network, self._client, endpoint, self._hosts[endpoint])
