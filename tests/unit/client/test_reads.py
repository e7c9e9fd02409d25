"""What a client asks for when it reads or breaks locks, seen from the server, and what it makes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

import lockstream
from lockstream import EntryState, ErrorReason, Mode
from lockstream._reads import LISTING_ATTEMPTS
from lockstream._views import entry_view, eviction_view, session_view
from lockstream.v1 import admin_pb2, lock_pb2, service_pb2, session_pb2
from tests.unit.client.scripted_reads import BROKEN, ScriptedReads, refusal, scripted_reads

SECOND = "the second page"
WHY, WHO = "stuck", "op@host"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedReads]:
    async with scripted_reads() as server:
        yield server


@pytest.fixture
async def client(server: ScriptedReads) -> AsyncIterator[lockstream.Client]:
    async with lockstream.connect(server.target, backoff_min=0.01, backoff_max=0.02) as client:
        yield client


# Values.


def test_every_field_of_an_entry_is_shown() -> None:
    """A field that is added to the message and not to the view fails here."""
    entry = lock_pb2.Entry(
        session_id="00000000000000a1",
        acquire_id=2,
        owner="task-1",
        mode=lock_pb2.MODE_PERMITS,
        state=lock_pb2.ENTRY_STATE_WAITING,
        token=30,
        position=4,
        permits=2,
        limit=5,
        value=b"\xff",
        metadata={"zone": "a"},
        asks_yield=True,
    )
    entry.queued_at.FromSeconds(1_000_000_000)
    entry.granted_at.FromSeconds(1_000_000_000)
    for number, duration in enumerate((entry.estimated_wait, entry.max_hold, entry.lock_delay), start=1):
        duration.FromMilliseconds(number * 1500)
    assert {field.name for field, _ in entry.ListFields()} == set(lock_pb2.Entry.DESCRIPTOR.fields_by_name)
    moment = datetime.fromtimestamp(1_000_000_000, UTC)
    assert entry_view(entry) == lockstream.EntryView(
        session_id="00000000000000a1",
        acquire_id=2,
        owner="task-1",
        mode=Mode.PERMITS,
        state=EntryState.WAITING,
        token=30,
        position=4,
        queued_at=moment,
        granted_at=moment,
        permits=2,
        limit=5,
        value=b"\xff",
        metadata={"zone": "a"},
        estimated_wait=1.5,
        max_hold=3.0,
        lock_delay=4.5,
        asks_yield=True,
    )


def test_what_is_not_said_of_an_entry_is_none() -> None:
    view = entry_view(lock_pb2.Entry(mode=lock_pb2.MODE_EXCLUSIVE, state=lock_pb2.ENTRY_STATE_DELAY))
    assert (view.queued_at, view.granted_at, view.estimated_wait, view.max_hold, view.lock_delay) == (None,) * 5
    assert (view.value, view.shared, view.state) == (b"", False, EntryState.DELAY)


def test_every_mode_and_state_of_the_protocol_has_a_name() -> None:
    modes = {mode.removeprefix("MODE_"): number for mode, number in lock_pb2.Mode.items() if number}
    states = {state.removeprefix("ENTRY_STATE_"): number for state, number in lock_pb2.EntryState.items() if number}
    kinds = {kind.removeprefix("KIND_"): number for kind, number in service_pb2.LockChange.Kind.items() if number}
    assert {mode.name: mode.value for mode in Mode} == {"UNKNOWN": 0, **modes}
    assert {state.name: state.value for state in EntryState} == {"UNKNOWN": 0, **states}
    assert {kind.name: kind.value for kind in lockstream.ChangeKind} == {"UNKNOWN": 0, **kinds}


def test_every_field_of_an_eviction_is_shown() -> None:
    eviction = lock_pb2.Eviction(
        name="a", session_id="00000000000000a1", acquire_id=2, token=3, reason="stuck", actor="op"
    )
    eviction.evicted_at.FromSeconds(1_000_000_000)
    assert {field.name for field, _ in eviction.ListFields()} == set(lock_pb2.Eviction.DESCRIPTOR.fields_by_name)
    assert eviction_view(eviction) == lockstream.EvictionView(
        name="a",
        session_id="00000000000000a1",
        acquire_id=2,
        token=3,
        reason="stuck",
        actor="op",
        evicted_at=datetime.fromtimestamp(1_000_000_000, UTC),
    )


def test_a_claim_of_several_names_has_them_all() -> None:
    held = session_pb2.Claim(name="a", mode=lock_pb2.MODE_EXCLUSIVE, state=lock_pb2.ENTRY_STATE_HELD)
    session = service_pb2.Session(claims=[held, held])
    session.claims[1].names.extend(["a", "b"])
    assert [claim.names for claim in session_view(session, 1).claims] == [("a",), ("a", "b")]


# Where to ask.


async def test_a_server_that_hangs_is_left_for_the_next(server: ScriptedReads) -> None:
    async with (
        scripted_reads() as other,
        lockstream.connect(f"{server.target},{other.target}", connect_timeout=1) as client,
    ):
        reading = asyncio.ensure_future(client.get_lock("a"))
        await server.call("GetLock")
        (await other.call("GetLock")).answer.set_result(service_pb2.GetLockResponse(revision=7))
        assert (await reading).revision == 7


# Pages.


async def test_a_listing_asks_for_every_page_with_the_same_filters(
    server: ScriptedReads, client: lockstream.Client
) -> None:
    listing = asyncio.ensure_future(client.list_locks("p/", held=True, contended=True, session_id="00000000000000a1"))
    for name, page_token, next_page in (("p/a", "", "1"), ("p/b", "1", "2"), ("p/c", "2", "")):
        call = await server.call("ListLocks")
        assert call.request == service_pb2.ListLocksRequest(
            prefix="p/", page_size=1000, page_token=page_token, held=True, contended=True, session_id="00000000000000a1"
        )
        page = service_pb2.ListLocksResponse(locks=[lock_pb2.Lock(name=name)], next_page_token=next_page, revision=9)
        call.answer.set_result(page)
    assert [(view.name, view.revision) for view in await listing] == [("p/a", 9), ("p/b", 9), ("p/c", 9)]


async def test_a_listing_of_sessions_passes_its_filters_on(server: ScriptedReads, client: lockstream.Client) -> None:
    listing = asyncio.ensure_future(client.list_sessions(client_name="worker", server="one"))
    call = await server.call("ListSessions")
    assert call.request == service_pb2.ListSessionsRequest(page_size=1000, client_name="worker", server="one")
    call.answer.set_result(service_pb2.ListSessionsResponse(revision=9))
    assert await listing == []


async def test_a_listing_that_was_compacted_between_two_pages_begins_again(
    server: ScriptedReads, client: lockstream.Client
) -> None:
    listing = asyncio.ensure_future(client.list_locks())
    first = service_pb2.ListLocksResponse(locks=[lock_pb2.Lock(name="old")], next_page_token=SECOND, revision=3)
    (await server.call("ListLocks")).answer.set_result(first)
    (await server.call("ListLocks")).answer.set_exception(refusal(ErrorReason.HISTORY_COMPACTED))
    again = await server.call("ListLocks")
    assert again.request == service_pb2.ListLocksRequest(page_size=1000)
    again.answer.set_result(service_pb2.ListLocksResponse(locks=[lock_pb2.Lock(name="new")], revision=9))
    assert [view.name for view in await listing] == ["new"]


async def test_a_listing_that_is_always_compacted_gives_up(server: ScriptedReads, client: lockstream.Client) -> None:
    listing = asyncio.ensure_future(client.list_locks())
    for _ in range(LISTING_ATTEMPTS):
        (await server.call("ListLocks")).answer.set_exception(refusal(ErrorReason.HISTORY_COMPACTED))
    with pytest.raises(lockstream.HistoryCompacted):
        await listing


# Breaking.


async def test_a_hold_is_broken_by_its_token_which_can_be_repeated(
    server: ScriptedReads, client: lockstream.Client
) -> None:
    breaking = asyncio.ensure_future(client.admin.force_release("a", token=7, reason=WHY, actor=WHO))
    (await server.call("ForceRelease")).answer.set_exception(BROKEN)
    call = await server.call("ForceRelease")
    assert call.request == admin_pb2.ForceReleaseRequest(name="a", token=7, reason=WHY, actor=WHO)
    call.answer.set_result(admin_pb2.ForceReleaseResponse(evictions=[lock_pb2.Eviction(name="a", token=7)]))
    assert [(eviction.name, eviction.token) for eviction in await breaking] == [("a", 7)]


async def test_any_hold_is_broken_at_a_server_that_answers_and_only_once(
    server: ScriptedReads, client: lockstream.Client
) -> None:
    """Its answer may be lost after it took effect; sent again it would break the hold of the next."""
    breaking = asyncio.ensure_future(client.admin.force_release("a", any=True, reason=WHY, actor=WHO))
    (await server.call("GetLock")).answer.set_exception(BROKEN)
    (await server.call("GetLock")).answer.set_result(service_pb2.GetLockResponse())
    call = await server.call("ForceRelease")
    assert call.request == admin_pb2.ForceReleaseRequest(name="a", any=True, reason=WHY, actor=WHO)
    call.answer.set_exception(BROKEN)
    with pytest.raises(lockstream.ServerUnavailable) as raised:
        await breaking
    assert not raised.value.outcome_settled


async def test_any_hold_is_broken_elsewhere_when_the_server_certainly_did_nothing(
    server: ScriptedReads, client: lockstream.Client
) -> None:
    breaking = asyncio.ensure_future(client.admin.force_release("a", any=True, reason=WHY, actor=WHO))
    (await server.call("GetLock")).answer.set_result(service_pb2.GetLockResponse())
    (await server.call("ForceRelease")).answer.set_exception(refusal(ErrorReason.DRAINING, retryable=True))
    (await server.call("ForceRelease")).answer.set_result(admin_pb2.ForceReleaseResponse())
    assert await breaking == []


async def test_which_hold_to_break_has_to_be_said(client: lockstream.Client) -> None:
    with pytest.raises(lockstream.InvalidArgument):
        await client.admin.force_release("a", reason=WHY, actor=WHO)
    with pytest.raises(lockstream.InvalidArgument):
        await client.admin.force_release("a", token=7, any=True, reason=WHY, actor=WHO)


async def test_a_session_is_ended(server: ScriptedReads, client: lockstream.Client) -> None:
    ending = asyncio.ensure_future(client.admin.end_session("00000000000000a1", reason=WHY, actor=WHO))
    call = await server.call("EndSession")
    assert call.request == admin_pb2.EndSessionRequest(session_id="00000000000000a1", reason=WHY, actor=WHO)
    record = lock_pb2.Eviction(session_id="00000000000000a1", reason="stuck", actor="op@host")
    call.answer.set_result(admin_pb2.EndSessionResponse(eviction=record))
    assert (await ending).actor == "op@host"
