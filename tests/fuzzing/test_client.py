"""The Python client, told anything by its server: it never hangs, never believes more than it was told, and says so."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

import lockstream
from lockstream._client import Client
from lockstream._options import Options
from lockstream.v1 import session_pb2
from tests.fuzzing.messages import TEXTS, UINT64, Hints, messages
from tests.fuzzing.played import SESSION_ID, Answer, Comply, End, Pause, PlayedChannels, PlayedServer, Step
from tests.support import virtual_time

LONGEST = 60
"""Seconds for which anything is proven, at the most."""
PATIENCE = 600.0
"""Seconds after which the client hangs."""

SECONDS = st.builds(Duration, seconds=st.sampled_from((10, 10, 10, LONGEST, 2, 0, -1, -(2**63))), nanos=st.just(0))
ACQUIRES = st.sampled_from((1, 1, 2, 2, 3, 4, 5, 0, 2**64 - 1))
_OPERATIONS = st.builds(lambda subject, operation: subject << 3 | operation, st.integers(0, 5), st.integers(0, 4))
TOLD: Hints = {
    "lockstream.v1.Response.kind": st.sampled_from(("reply", "reply", "event", None)),
    "request_id": _OPERATIONS | st.sampled_from(UINT64),
    "acquire_id": ACQUIRES,
    "token": st.sampled_from((7, 7, 8, 0, 2**64 - 1)),
    "session_id": st.just(SESSION_ID) | TEXTS,
    "ttl": SECONDS,
    "detach_grace": SECONDS,
    "remaining": SECONDS,
    "state": st.sampled_from((0, 1, 2, 2, 3, 99)),
}
FRAMES = messages(session_pb2.SessionResponse, TOLD)
GRANTED = st.builds(session_pb2.Granted, acquire_id=st.integers(1, 4), token=st.sampled_from((7, 8)))
GRANTS = st.builds(
    lambda granted: session_pb2.SessionResponse(
        responses=[session_pb2.Response(reply=session_pb2.Reply(request_id=granted.acquire_id << 3, granted=granted))]
    ),
    GRANTED,
)
DETAILS = messages(session_pb2.WaitEnded).map(lambda ended: ended.error.SerializeToString()) | st.binary(max_size=6)
FAILURES = st.builds(
    lambda code, details: grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(("grpc-status-details-bin", details)), "fuzzed"
    ),
    st.sampled_from([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]),
    DETAILS,
)
CLAIMS = st.lists(messages(session_pb2.Claim, TOLD), max_size=2).map(tuple)
STEPS = st.one_of(
    *[FRAMES.map(Answer)] * 4,
    *[GRANTS.map(Answer)] * 2,
    *[st.builds(Comply, claims=CLAIMS)] * 5,
    st.builds(Pause, st.sampled_from((0.0, 0.01, 1.0, 6.0, 20.0))),
    st.builds(End, st.none() | FAILURES),
)
STORIES = st.lists(STEPS, min_size=1, max_size=20).map(lambda steps: [Comply(), Pause(0.01), *steps]) | st.lists(
    STEPS, min_size=1, max_size=15
)


T = TypeVar("T")


class Program:
    """What a program does with a client, whatever it is told."""

    def __init__(self, steps: list[Step]) -> None:
        self.server = PlayedServer(steps)
        self.client = Client(PlayedChannels(self.server), Options(connect_timeout=2.0), None)
        self.locks: list[lockstream.Lock] = []
        self.outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        """Do it all. Fails when the client hangs, or believes what it was not told."""
        defects: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context))
        async with asyncio.timeout(PATIENCE):
            playing = asyncio.ensure_future(self.server.play())
            session = self.client.session()
            await self._try(session.open())
            if session.id:
                await asyncio.gather(
                    self._use(session, "a"),
                    self._use(session, "b", wait=3.0),
                    self._use(session, "c", shared=True),
                    self._use(session, "d", wait=0),
                )
                await asyncio.sleep(2 * LONGEST)  # nothing is proven any more
                assert session.remaining <= 0
                await self._try(session.close())
            await self._try(self.client.close())
            playing.cancel()
        assert not any(lock.held for lock in self.locks)
        assert not defects, defects

    async def _use(self, session: lockstream.Session, name: str, **options: Any) -> None:
        lock = await self._try(session.acquire(name, **options))
        if lock is None:
            return
        self.locks.append(lock)
        self._check(session, lock)
        if lock.shared:
            await self._try(lock.upgrade(wait=1.0))
        elif name != "a":
            await self._try(lock.set_value(b"v"))
            await self._try(lock.downgrade())
        self._check(session, lock)
        await self._try(lock.release())
        assert not lock.held

    def _check(self, session: lockstream.Session, lock: lockstream.Lock) -> None:
        """Of what it believes to hold it was told, and its lease is proven."""
        if lock.held:
            top = lock._hold.top  # noqa: SLF001 - the identifier by which it was told is not shown
            assert (top.acquire_id, lock.token) in self.server.granted
            assert 0 < session.remaining <= LONGEST

    async def _try(self, call: Coroutine[Any, Any, T]) -> T | None:
        """Whatever it raises is for people who use locks."""
        name = getattr(call, "__name__", "")
        try:
            result = await call
        except lockstream.LockstreamError as error:
            self.outcomes[f"{name}: {type(error).__name__}"] += 1
            return None
        self.outcomes[name] += 1
        return result


def test_whatever_the_server_says_the_client_believes_only_what_it_was_granted() -> None:
    outcomes: Counter[str] = Counter()

    async def play(steps: list[Step]) -> None:
        program = Program(steps)
        await program.run()
        outcomes.update(program.outcomes)

    @settings(max_examples=2 * settings().max_examples)
    @given(STORIES)
    def told(steps: list[Step]) -> None:
        virtual_time.run(play(steps))

    told()
    assert {"open", "acquire", "release"} <= {*outcomes}, outcomes
