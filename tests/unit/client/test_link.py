"""How requests are put into frames: in their order, and never more in one than every server takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from lockstream import Part
from lockstream._asks import MAX_NAME_BYTES, MAX_OWNER_BYTES, MAX_REQUEST_BYTES, Ask, ask_all
from lockstream._claims import Claim
from lockstream._link import MAX_ADDED_BYTES, MAX_FRAME_BYTES, MAX_FRAME_REQUESTS, MAX_PLAIN_BYTES, Link
from lockstream.v1 import session_pb2

PLAIN = Ask(("n" * MAX_NAME_BYTES,), "o" * MAX_OWNER_BYTES, shared=True)
"""The largest that says no more than a name and an owner."""
SMALL = Ask(("a",), "")
LARGE = ask_all([Part(f"{n:0{MAX_NAME_BYTES}}", limit=2**32 - 1) for n in range(123)], PLAIN.owner)
"""About the largest that there is."""

NOW = 0.0
FOR_LONG = 3e11
"""Seconds: a wait that takes as many bytes as any."""
FIRST_ID = 2**60
"""The number of an acquire that takes as many bytes as any."""


async def frames_of(asks: Sequence[Ask]) -> list[session_pb2.SessionRequest]:
    """The frames with these acquires."""
    loop = asyncio.get_running_loop()
    link = Link(loop.create_future())
    for number, ask in enumerate(asks, start=FIRST_ID):
        link.acquire(Claim(number, ask, loop.create_future(), wait=FOR_LONG, until=NOW + FOR_LONG + 0.999_999), NOW)
    return list(iter(link.take, None))


@pytest.mark.parametrize(
    "asks",
    [
        [PLAIN] * (2 * MAX_FRAME_REQUESTS),
        [LARGE] * 40,
        [PLAIN, LARGE] * 600,
        [*[PLAIN] * (MAX_FRAME_REQUESTS - 1), LARGE, SMALL],
        [*[LARGE] * 15, *[SMALL] * MAX_FRAME_REQUESTS],
    ],
    ids=["plain", "large", "in turn", "a large one last", "large ones first"],
)
async def test_no_frame_has_more_than_servers_take(asks: list[Ask]) -> None:
    frames = await frames_of(asks)
    requests = [request for frame in frames for request in frame.requests]
    assert [getattr(request, request.WhichOneof("action") or "").acquire_id for request in requests] == [
        *range(FIRST_ID, FIRST_ID + len(asks))
    ]
    assert max(frame.ByteSize() for frame in frames) <= MAX_FRAME_BYTES
    assert max(len(frame.requests) for frame in frames) <= MAX_FRAME_REQUESTS
    assert len(frames) <= 2 + sum(frame.ByteSize() for frame in frames) / (MAX_FRAME_BYTES / 2), "hardly bundled"


async def test_a_request_has_no_more_bytes_than_are_counted_for_it() -> None:
    """With the tag and the length that it has in the frame."""
    [plain] = await frames_of([PLAIN])
    assert MAX_PLAIN_BYTES - 32 < plain.ByteSize() <= MAX_PLAIN_BYTES
    [large] = await frames_of([LARGE])
    assert LARGE.request is not None
    assert MAX_REQUEST_BYTES - 1024 < LARGE.request.ByteSize() <= MAX_REQUEST_BYTES
    assert large.ByteSize() <= LARGE.request.ByteSize() + MAX_ADDED_BYTES


async def test_small_requests_are_bundled_by_their_number() -> None:
    assert [len(frame.requests) for frame in await frames_of([SMALL] * (MAX_FRAME_REQUESTS + 1))] == [
        MAX_FRAME_REQUESTS,
        1,
    ]
