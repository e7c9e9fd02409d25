"""What no stream may ever carry: anything told twice, out of order, or to nobody."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from lockstream.v1 import session_pb2
from tests.simulation.calls import Call

Read = Callable[[], Awaitable[Any]]
Write = Callable[[session_pb2.SessionResponse], Awaitable[None]]


class StreamAudit:
    """Reads along with what a server writes to one stream."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._sequence = 0
        self._asked: Counter[int] = Counter()
        """Requests without a reply, by identifier; one that was answered may be asked again."""
        self._granted: set[int] = set()
        self._over: set[int] = set()
        self._ended = False

    def reading(self, read: Read) -> Read:
        """The same, heard along."""

        async def audited() -> Any:
            frame = await read()
            if isinstance(frame, session_pb2.SessionRequest):
                for request in frame.requests:
                    self._ask(request)
            return frame

        return audited

    def writing(self, write: Write) -> Write:
        """The same, read along."""

        async def audited(frame: session_pb2.SessionResponse) -> None:
            for response in frame.responses:
                if response.HasField("reply"):
                    self._reply(response.reply)
                else:
                    self._event(response.event)
            await write(frame)

        return audited

    def _ask(self, request: session_pb2.Request) -> None:
        self._asked[request.request_id] += 1
        if request.WhichOneof("action") in {"acquire", "acquire_all", "upgrade"}:
            # After a resume what was not answered is asked again. It may have come to its end a moment before, of which
            # the news is on its way: then it begins anew.
            acquire = getattr(request, request.WhichOneof("action") or "").acquire_id
            self._granted.discard(acquire)
            self._over.discard(acquire)

    def _reply(self, reply: session_pb2.Reply) -> None:
        self._asked[reply.request_id] -= 1
        if self._asked[reply.request_id] < 0:
            self._object(f"request {reply.request_id} is answered more often than asked: {reply}")
        if self._ended:
            self._object(f"a reply follows the end of the session: {reply}")
        match reply.WhichOneof("outcome"):
            case "granted":
                if reply.granted.acquire_id in self._over:
                    self._object(f"a grant follows its end: {reply}")
            case None:
                self._object(f"a reply says nothing: {reply}")
            case _:
                pass

    def _event(self, event: session_pb2.Event) -> None:
        self._sequence += 1
        if event.sequence != self._sequence:
            self._object(f"event {event.sequence} comes where {self._sequence} was due")
        if self._ended:
            self._object(f"an event follows the end of the session: {event}")
        match event.WhichOneof("event"):
            case "granted":
                self._grants(event.granted.acquire_id)
            case "lost":
                self._ends(event.lost.acquire_id)
            case "wait_ended":
                self._ends(event.wait_ended.acquire_id)
            case "session_ended":
                self._ended = True
            case None:
                self._object(f"an event says nothing: {event}")
            case _:
                pass

    def _grants(self, acquire: int) -> None:
        if acquire in self._over or acquire in self._granted:
            self._object(f"the grant of acquire {acquire} is told again, or after its end")
        self._granted.add(acquire)

    def _ends(self, acquire: int) -> None:
        if acquire in self._over:
            self._object(f"the end of acquire {acquire} is told twice")
        self._over.add(acquire)

    def _object(self, why: str) -> None:
        self._call.network.scheduler.fail(f"{self._call}: {why}")
