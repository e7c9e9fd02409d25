"""The unary calls about locks, through plain generated stubs."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import lockstream.sync
from lockstream.v1 import lock_pb2, service_pb2, service_pb2_grpc
from tests.support.processes import wait_until
from tests.support.refusals import assert_invalid, refusal
from tests.support.server import ServerProcess

Stub = service_pb2_grpc.LockServiceStub
TIMEOUT_SECONDS = 10.0
TOO_LONG = "n" * 513


def _until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, timeout=TIMEOUT_SECONDS, what=what)


def _lock(stub: Stub, name: str, *, linearizable: bool = True) -> lock_pb2.Lock:
    return stub.GetLock(service_pb2.GetLockRequest(name=name, linearizable=linearizable)).lock


def _until_folded(stub: Stub, name: str, entries: int) -> None:
    """Wait until the server's own view of the lock has so many entries."""
    _until(lambda: len(_lock(stub, name, linearizable=False).entries) == entries, f"{entries} entries of {name!r}")


@pytest.mark.parametrize("linearizable", [False, True])
def test_a_free_lock_has_no_entries(grpc_stub: Stub, name: str, linearizable: bool) -> None:
    reply = grpc_stub.GetLock(service_pb2.GetLockRequest(name=name, linearizable=linearizable))
    assert reply.lock == lock_pb2.Lock(name=name)
    assert reply.revision > 0


def test_a_lock_shows_its_holder_and_its_queue(
    grpc_stub: Stub, sync_session: lockstream.sync.Session, in_background: Callable[..., Future[Any]], name: str
) -> None:
    held = sync_session.acquire(name, owner="holder")
    waiting = []
    for place, shared in enumerate((False, True), start=1):
        waiting.append(in_background(sync_session.acquire, name, owner=f"waiter-{place}", shared=shared))
        _until_folded(grpc_stub, name, 1 + place)
    for linearizable in (False, True):
        reply = grpc_stub.GetLock(service_pb2.GetLockRequest(name=name, linearizable=linearizable))
        holder, *waiters = reply.lock.entries
        assert (holder.owner, holder.token, holder.position) == ("holder", held.token, 0)
        assert (holder.mode, holder.state) == (lock_pb2.MODE_EXCLUSIVE, lock_pb2.ENTRY_STATE_HELD)
        assert [entry.owner for entry in waiters] == ["waiter-1", "waiter-2"]
        assert [entry.position for entry in waiters] == [1, 2]
        assert [entry.mode for entry in waiters] == [lock_pb2.MODE_EXCLUSIVE, lock_pb2.MODE_SHARED]
        assert {entry.state for entry in waiters} == {lock_pb2.ENTRY_STATE_WAITING}
        assert {entry.session_id for entry in reply.lock.entries} == {sync_session.id}
        assert len({entry.acquire_id for entry in reply.lock.entries} - {0}) == 3
        assert 0 < holder.token < waiters[0].token < waiters[1].token <= reply.revision
        assert not any(entry.HasField("granted_at") for entry in waiters)
    held.release()
    for future in waiting:
        lock = future.result(TIMEOUT_SECONDS)
        lock.release()


def test_a_lock_shows_when_it_was_asked_for_and_granted(
    grpc_stub: Stub, sync_session: lockstream.sync.Session, name: str
) -> None:
    sync_session.acquire(name)
    _until_folded(grpc_stub, name, 1)
    (entry,) = _lock(grpc_stub, name, linearizable=False).entries
    now = datetime.now(UTC)
    asked, granted = (moment.ToDatetime(tzinfo=UTC) for moment in (entry.queued_at, entry.granted_at))
    assert now - timedelta(seconds=TIMEOUT_SECONDS) < asked <= granted <= now


def test_a_linearizable_read_sees_what_another_server_has_just_answered(
    grpc_stub: Stub, two_servers: Sequence[ServerProcess], name: str
) -> None:
    """A hundred times; the reading server may not have folded the revision yet."""
    with lockstream.sync.connect(two_servers[1].target) as client, client.session() as elsewhere:
        for _ in range(100):
            lock = elsewhere.acquire(name)
            assert [entry.token for entry in _lock(grpc_stub, name).entries] == [lock.token]
            lock.release()
            assert not _lock(grpc_stub, name).entries


def test_a_token_counts_from_the_grant_to_the_release(
    grpc_stub: Stub, sync_session: lockstream.sync.Session, in_background: Callable[..., Future[Any]], name: str
) -> None:
    def counts(token: int, lock_name: str = name) -> bool:
        return grpc_stub.CheckToken(service_pb2.CheckTokenRequest(name=lock_name, token=token)).held

    first = sync_session.acquire(name, owner="first")
    assert counts(first.token)
    assert not counts(first.token, f"{name}/other")
    assert not counts(first.token + 1)
    waiting = in_background(sync_session.acquire, name, owner="second")
    _until(lambda: len(_lock(grpc_stub, name).entries) == 2, "the second is queued")
    awaited = _lock(grpc_stub, name).entries[1].token
    assert not counts(awaited)
    first.release()
    assert not counts(first.token)
    second = waiting.result(TIMEOUT_SECONDS)
    assert second.token == awaited
    assert counts(second.token)


def test_a_check_tells_the_revision_at_which_it_holds(
    grpc_stub: Stub, sync_session: lockstream.sync.Session, name: str
) -> None:
    lock = sync_session.acquire(name)
    reply = grpc_stub.CheckToken(service_pb2.CheckTokenRequest(name=name, token=lock.token))
    assert reply.revision >= lock.token


def test_a_check_tells_the_highest_token_that_was_granted(
    grpc_stub: Stub, sync_session: lockstream.sync.Session, in_background: Callable[..., Future[Any]], name: str
) -> None:
    def highest() -> int:
        return grpc_stub.CheckToken(service_pb2.CheckTokenRequest(name=name, token=1)).highest_token

    assert highest() == 0
    first = sync_session.acquire(name, owner="first")
    assert highest() == first.token
    waiting = in_background(sync_session.acquire, name, owner="second")
    _until(lambda: len(_lock(grpc_stub, name).entries) == 2, "the second is queued")
    assert highest() == first.token, "a waiter's token counts for nothing yet"
    first.release()
    second = waiting.result(TIMEOUT_SECONDS)
    assert highest() == second.token > first.token
    second.release()
    _until_folded(grpc_stub, name, 0)
    assert highest() == second.token, "it is remembered"


def test_waiters_are_told_how_long_they_may_wait(
    grpc_stub: Stub, sync_session: lockstream.sync.Session, in_background: Callable[..., Future[Any]], name: str
) -> None:
    def entries(*, linearizable: bool = False) -> list[lock_pb2.Entry]:
        return [*_lock(grpc_stub, name, linearizable=linearizable).entries]

    holder = sync_session.acquire(name, owner="holder")
    waiting = []
    for place in (1, 2):
        waiting.append(in_background(sync_session.acquire, name, owner=f"waiter-{place}"))
        _until_folded(grpc_stub, name, 1 + place)
    assert not any(entry.HasField("estimated_wait") for entry in entries()), "no hold was seen to end"
    granted_at = entries()[0].granted_at.ToNanoseconds()
    holder.release()
    second = waiting[0].result(TIMEOUT_SECONDS)
    _until_folded(grpc_stub, name, 2)
    handed_over_at = entries()[0].granted_at.ToNanoseconds()
    for linearizable in (False, True):
        now_holds, waits = entries(linearizable=linearizable)
        assert not now_holds.HasField("estimated_wait")
        # The one hold so far lasted until the next one was granted; both by the server's clock, rounded.
        assert abs(waits.estimated_wait.ToNanoseconds() - (handed_over_at - granted_at)) < 1_000_000
    second.release()
    waiting[1].result(TIMEOUT_SECONDS).release()


@pytest.mark.parametrize("bad", ["", TOO_LONG], ids=["empty", "too long"])
def test_a_name_that_is_no_name_is_refused(grpc_stub: Stub, bad: str) -> None:
    get = service_pb2.GetLockRequest(name=bad)
    check = service_pb2.CheckTokenRequest(name=bad, token=1)
    assert_invalid(refusal(lambda: grpc_stub.GetLock(get)), "name")
    assert_invalid(refusal(lambda: grpc_stub.CheckToken(check)), "name")


@pytest.mark.parametrize("bad", [0, 2**63, 2**64 - 1])
def test_a_token_that_is_no_token_is_refused(grpc_stub: Stub, name: str, bad: int) -> None:
    request = service_pb2.CheckTokenRequest(name=name, token=bad)
    assert_invalid(refusal(lambda: grpc_stub.CheckToken(request)), "token")


def test_locks_are_listed_by_name_page_by_page(
    grpc_stub: Stub, sync_session: lockstream.sync.Session, name: str
) -> None:
    """In the order of code points: capitals before small letters, other scripts last; other prefixes not at all."""
    ends = sorted([*(f"{number:02}" for number in range(20)), "Z", "a", "é", "锁", "🔒"])
    for end in reversed(ends):
        sync_session.acquire(f"{name}/{end}")
    sync_session.acquire(f"{name}+")
    request = service_pb2.ListLocksRequest(prefix=f"{name}/", page_size=1000)
    _until(lambda: len(grpc_stub.ListLocks(request).locks) == len(ends), "the server has folded them all")

    request.page_size = 10
    pages: list[list[str]] = []
    while not pages or request.page_token:
        reply = grpc_stub.ListLocks(request)
        assert reply.revision > 0
        pages.append([lock.name for lock in reply.locks])
        request.page_token = reply.next_page_token
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [lock_name.removeprefix(f"{name}/") for lock_name in itertools.chain(*pages)] == ends


def test_a_listing_goes_on_when_the_last_lock_of_a_page_is_gone(
    grpc_stub: Stub, sync_session: lockstream.sync.Session, name: str
) -> None:
    locks = [sync_session.acquire(f"{name}/{number}") for number in range(4)]
    request = service_pb2.ListLocksRequest(prefix=f"{name}/", page_size=2)
    _until_folded(grpc_stub, locks[-1].name, 1)
    request.page_token = grpc_stub.ListLocks(request).next_page_token
    locks[1].release()
    _until_folded(grpc_stub, locks[1].name, 0)
    reply = grpc_stub.ListLocks(request)
    assert [lock.name for lock in reply.locks] == [locks[2].name, locks[3].name]
    assert reply.next_page_token == ""


async def test_pages_have_a_hundred_locks_unless_asked_and_a_thousand_at_the_most(
    grpc_stub: Stub, client: lockstream.Client, name: str
) -> None:
    async with client.session() as one, client.session() as two:
        await asyncio.gather(*(one.acquire(f"{name}/{number:04}") for number in range(1000)))
        await two.acquire(f"{name}/1000")
        pages = {}
        for size in (0, 1000, 1001, 2**31 - 1):
            request = service_pb2.ListLocksRequest(prefix=f"{name}/", page_size=size)
            pages[size] = await asyncio.to_thread(grpc_stub.ListLocks, request)
    assert {size: len(page.locks) for size, page in pages.items()} == {0: 100, 1000: 1000, 1001: 1000, 2**31 - 1: 1000}
    assert pages[0].next_page_token
    assert pages[1001].next_page_token


def test_a_page_of_locks_of_a_negative_size_is_refused(grpc_stub: Stub) -> None:
    request = service_pb2.ListLocksRequest(page_size=-1)
    assert_invalid(refusal(lambda: grpc_stub.ListLocks(request)), "page_size")
