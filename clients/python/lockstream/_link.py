"""The outgoing side of one Session stream: what is ready to be sent, in frames."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lockstream.v1 import lock_pb2, session_pb2

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from lockstream._changes import Change
    from lockstream._claims import Claim

MAX_FRAME_REQUESTS = 1024
"""Requests in one frame, at the most: a bound of the protocol."""

MAX_FRAME_BYTES = 1_048_576
"""Bytes of one frame, at the most: as many as every server takes."""

MAX_PLAIN_BYTES = 832
"""What is counted for a request which says no more than a name and an owner.

It is the most that one can have. To measure each would cost more than what it saves in frames.
"""

MAX_ADDED_BYTES = 64
"""The most that numbers and a wait add to a request which was made before."""

# A request_id says what it is about, so that a reply finds its claim with no table of requests: the
# acquire_id (or a count of changes, or of session requests) in the upper bits, the operation in the lower ones.
OPERATION_BITS = 3
OPERATION_MASK = 7
ACQUIRE, RELEASE, CANCEL, CHANGE, SESSION = range(5)

_NANOSECONDS = 1_000_000_000


class Link:
    """Requests for one stream, written straight into the frame that will carry them.

    `wake` is called when the first request is ready after `take` found none. `attached` is resolved
    by the reply to `open` or `resume`.
    """

    __slots__ = (
        "_bytes",
        "_frames",
        "_room",
        "_serial",
        "attached",
        "close_id",
        "greeted_at",
        "heartbeat_at",
        "heartbeat_open",
        "idle",
        "wake",
    )

    def __init__(self, attached: Future[None]) -> None:
        self.attached = attached
        self.greeted_at = 0.0
        self.heartbeat_at = 0.0
        """When the lease was last asked after on this stream, by a heartbeat or by the greeting."""
        self.heartbeat_open = False
        """Whether the reply to the last heartbeat is still to come."""
        self.close_id: int | None = None
        """The request_id of the close, by which its reply is told from that to a heartbeat."""
        self.idle = False
        self.wake: Callable[[], None] = lambda: None
        self._frames: deque[session_pb2.SessionRequest] = deque()
        self._room = 0
        self._bytes = 0
        self._serial = 0

    def take(self) -> session_pb2.SessionRequest | None:
        """The next frame to write, or None when nothing is ready; then `wake` will tell."""
        if self._frames:
            if len(self._frames) == 1:
                self._room = 0
            return self._frames.popleft()
        self.idle = True
        return None

    def acquire(self, claim: Claim, now: float) -> None:
        """Ask for a claim, with what is left of its wait."""
        ask = claim.ask
        claim.unanswered = True
        acquire: session_pb2.Acquire | session_pb2.AcquireAll | session_pb2.Upgrade
        if ask.request is None:
            request = self._add()
            acquire = request.acquire
            acquire.name = ask.name
            acquire.owner = ask.owner
            if ask.shared:
                acquire.mode = lock_pb2.MODE_SHARED
        else:
            request = self._add_copy(ask.request)
            acquire = getattr(request, request.WhichOneof("action") or "acquire")
        request.request_id = claim.acquire_id << OPERATION_BITS
        acquire.acquire_id = claim.acquire_id
        if claim.wait is None:
            return  # unset is for ever
        if claim.until is None:
            acquire.no_wait.SetInParent()
        else:
            nanoseconds = max(int((claim.until - now) * _NANOSECONDS), 1)
            acquire.timeout.seconds, acquire.timeout.nanos = divmod(nanoseconds, _NANOSECONDS)

    def release(self, claim: Claim) -> None:
        """Give up a held claim."""
        request = self._add()
        request.request_id = claim.acquire_id << OPERATION_BITS | RELEASE
        release = request.release
        release.acquire_id = claim.acquire_id
        release.token = claim.token

    def cancel(self, acquire_id: int) -> None:
        """Withdraw an acquire, whatever became of it."""
        request = self._add()
        request.request_id = acquire_id << OPERATION_BITS | CANCEL
        request.cancel.acquire_id = acquire_id

    def change(self, change: Change) -> None:
        """Change something about a claim."""
        self._add_copy(change.request).request_id = change.serial << OPERATION_BITS | CHANGE

    def open(self, opening: session_pb2.Open, now: float) -> None:
        """Begin a session."""
        self.greeted_at = self.heartbeat_at = now
        self._add_session_request().open.CopyFrom(opening)

    def resume(self, session_id: str, resume_token: str, now: float) -> None:
        """Take the session up."""
        self.greeted_at = self.heartbeat_at = now
        resume = self._add_session_request().resume
        resume.session_id = session_id
        resume.resume_token = resume_token

    def heartbeat(self, now: float) -> None:
        """Ask for a proof of the lease."""
        self.heartbeat_at = now
        self.heartbeat_open = True
        self._add_session_request().heartbeat.SetInParent()

    def close(self) -> None:
        """End the session."""
        request = self._add_session_request()
        request.close.SetInParent()
        self.close_id = request.request_id

    def _add_session_request(self) -> session_pb2.Request:
        request = self._add()
        request.request_id = self._serial << OPERATION_BITS | SESSION
        self._serial += 1
        return request

    def _add_copy(self, message: session_pb2.Request) -> session_pb2.Request:
        request = self._add(message.ByteSize() + MAX_ADDED_BYTES)
        request.MergeFrom(message)
        return request

    def _add(self, size: int = MAX_PLAIN_BYTES) -> session_pb2.Request:
        """A new request, which will have this many bytes at the most, in a frame that has room for it."""
        if self._room == 0 or self._bytes < size:
            self._frames.append(session_pb2.SessionRequest())
            self._room = MAX_FRAME_REQUESTS
            self._bytes = MAX_FRAME_BYTES
        self._room -= 1
        self._bytes -= size
        if self.idle:
            self.idle = False
            self.wake()
        return self._frames[-1].requests.add()
