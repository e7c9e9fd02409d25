"""What no acquire can mean: INVALID_ARGUMENT with the field named, and the session goes on."""

from collections.abc import AsyncIterator, Sequence

import pytest
from google.protobuf.duration_pb2 import Duration

from lockstream.v1 import lock_pb2, session_pb2
from tests.integration.conftest import Join
from tests.support.calls import Stubs
from tests.support.refusals import assert_invalid
from tests.support.wire import Action, Wire, acquire, release

Acquire = session_pb2.Acquire
Part = session_pb2.AcquireAll.Part
EXCLUSIVE, SHARED, PERMITS = lock_pb2.MODE_EXCLUSIVE, lock_pb2.MODE_SHARED, lock_pb2.MODE_PERMITS
UPGRADE = lock_pb2.MODE_UPGRADE
SECOND = Duration(seconds=1)
NEGATIVE = Duration(seconds=-1)
MALFORMED = Duration(seconds=1, nanos=-1)
HUGE = Duration(seconds=2**62)


BAD_TERMS: Sequence[tuple[str, Acquire]] = [
    ("limit", Acquire(mode=PERMITS)),
    ("limit", Acquire(mode=PERMITS, permits=1)),
    ("limit", Acquire(mode=PERMITS, limit=1_000_001)),
    ("limit", Acquire(mode=PERMITS, limit=2**32 - 1)),
    ("permits", Acquire(mode=PERMITS, permits=3, limit=2)),
    ("permits", Acquire(mode=PERMITS, permits=2**32 - 1, limit=1_000_000)),
    ("permits", Acquire(permits=1)),
    ("permits", Acquire(mode=SHARED, permits=1)),
    ("limit", Acquire(limit=1)),
    ("limit", Acquire(mode=SHARED, permits=1, limit=1)),
    ("mode", Acquire(mode=UPGRADE)),
    ("max_hold", Acquire(max_hold=Duration())),
    ("max_hold", Acquire(max_hold=Duration(nanos=999_999_999))),
    ("max_hold", Acquire(max_hold=NEGATIVE)),
    ("max_hold", Acquire(max_hold=MALFORMED)),
    ("max_hold", Acquire(max_hold=HUGE)),
    ("yield_notice", Acquire(yield_notice=SECOND)),
    ("yield_notice", Acquire(max_hold=SECOND, yield_notice=SECOND)),
    ("yield_notice", Acquire(max_hold=SECOND, yield_notice=Duration(seconds=2))),
    ("yield_notice", Acquire(max_hold=SECOND, yield_notice=NEGATIVE)),
    ("yield_notice", Acquire(max_hold=SECOND, yield_notice=HUGE)),
    ("lock_delay", Acquire(lock_delay=NEGATIVE)),
    ("lock_delay", Acquire(lock_delay=Duration(nanos=-1))),
    ("lock_delay", Acquire(lock_delay=Duration(seconds=600, nanos=1))),
    ("lock_delay", Acquire(lock_delay=HUGE)),
    ("lock_delay", Acquire(mode=SHARED, lock_delay=SECOND)),
    ("lock_delay", Acquire(mode=PERMITS, limit=1, lock_delay=SECOND)),
    ("value", Acquire(value=bytes(4097))),
    ("metadata", Acquire(metadata={str(number): "" for number in range(33)})),
    ("metadata", Acquire(metadata={"key": "v" * 4096})),
    ("timeout", Acquire(mode=PERMITS, limit=1, timeout=Duration())),
]
"""The field that is named, and what is wrong about an acquire that is exclusive unless it says otherwise."""


@pytest.fixture
async def wire(join: Join) -> AsyncIterator[Wire]:
    """A session, which is as good after the test as before."""
    wire = await join()
    granted = await wire.hold(acquire(1, f"bystander/{wire.attached.session_id}"))
    yield wire
    assert (await wire.ask(release(granted))).HasField("released")
    assert wire.unread == []


async def assert_refused(wire: Wire, stubs: Stubs, asked: Action, field: str, name: str) -> None:
    """Refused with the field named, and nothing of it in the queue."""
    assert_invalid((await wire.ask(asked)).error, field)
    assert await stubs.entries(name) == []


async def test_terms_of_an_acquire(wire: Wire, stubs: Stubs, name: str) -> None:
    """Each field by itself, and those which have to fit together."""
    for field, terms in BAD_TERMS:
        asked = Acquire(acquire_id=2, name=name)
        asked.MergeFrom(terms)
        await assert_refused(wire, stubs, asked, field, name)


async def test_the_last_that_is_allowed_is_taken(wire: Wire, name: str) -> None:
    """So that the bounds above are where they are said to be."""
    allowed = [
        Acquire(mode=PERMITS, permits=1_000_000, limit=1_000_000),
        Acquire(mode=PERMITS, limit=1),
        Acquire(max_hold=SECOND, yield_notice=Duration()),
        Acquire(mode=SHARED, max_hold=Duration(seconds=315_576_000_000)),
        Acquire(mode=SHARED, lock_delay=Duration()),
        Acquire(lock_delay=Duration(seconds=600)),
    ]
    for acquire_id, terms in enumerate(allowed, start=2):
        asked = Acquire(acquire_id=acquire_id, name=name)
        asked.MergeFrom(terms)
        assert (await wire.ask(release(await wire.hold(asked)))).HasField("released")


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("parts", []),
        ("parts", [Part(name=f"/{number}") for number in range(101)]),
        ("parts[2].name", [Part(), Part(name="/b"), Part()]),
        ("parts[1].name", [Part(), Part(name="x" * 512)]),
        ("parts[1].mode", [Part(), Part(name="/b", mode=UPGRADE)]),
        ("parts[0].limit", [Part(mode=PERMITS)]),
        ("parts[1].permits", [Part(), Part(name="/b", mode=PERMITS, permits=3, limit=2)]),
        ("parts[1].limit", [Part(), Part(name="/b", limit=2)]),
    ],
)
async def test_parts_of_an_acquire_of_several(
    wire: Wire, stubs: Stubs, name: str, field: str, parts: list[Part]
) -> None:
    """None or too many, a name twice, and one bad part among good ones."""
    asked = session_pb2.AcquireAll(acquire_id=2, parts=parts)
    for part in asked.parts:
        part.name = name + part.name
    await assert_refused(wire, stubs, asked, field, name)


async def test_a_part_without_a_name(wire: Wire, stubs: Stubs, name: str) -> None:
    """It is said which."""
    asked = session_pb2.AcquireAll(acquire_id=2, parts=[Part(name=name), Part()])
    await assert_refused(wire, stubs, asked, "parts[1].name", name)


async def test_requests_that_leave_out_what_they_need(wire: Wire) -> None:
    """Or say what cannot be."""
    bad: list[tuple[str, Action]] = [
        ("acquire_id", session_pb2.AcquireAll(parts=[Part(name="a")])),
        ("owner", session_pb2.AcquireAll(acquire_id=2, parts=[Part(name="a")], owner="x" * 257)),
        ("timeout", session_pb2.AcquireAll(acquire_id=2, parts=[Part(name="a")], timeout=NEGATIVE)),
        ("acquire_id", session_pb2.Upgrade(shared_acquire_id=1, token=1)),
        ("acquire_id", session_pb2.Upgrade(acquire_id=1, shared_acquire_id=1, token=1)),
        ("shared_acquire_id", session_pb2.Upgrade(acquire_id=2, token=1)),
        ("token", session_pb2.Upgrade(acquire_id=2, shared_acquire_id=1)),
        ("timeout", session_pb2.Upgrade(acquire_id=2, shared_acquire_id=1, token=1, timeout=Duration())),
        ("acquire_id", session_pb2.Downgrade(token=1)),
        ("token", session_pb2.Downgrade(acquire_id=1)),
        ("acquire_id", session_pb2.SetValue(token=1)),
        ("token", session_pb2.SetValue(acquire_id=1)),
        ("token", session_pb2.SetValue(acquire_id=1, token=2**63)),
        ("acquire_id", session_pb2.RequestYield()),
    ]
    for field, asked in bad:
        assert_invalid((await wire.ask(asked)).error, field)
