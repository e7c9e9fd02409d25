"""ListLocks, ListSessions and ListEvictions page by page: one revision for all pages of a listing, at any server."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import grpc
import pytest

from lockstream.v1 import lock_pb2, service_pb2, service_pb2_grpc, session_pb2
from lockstream_server.core.model import EvictionKind, EvictionRecord
from lockstream_server.rpc import paging
from lockstream_server.store.keys import encode_eviction, eviction_id
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiting import eventually
from tests.support.watching import Ended, Watcher, kind
from tests.support.wire import Wire, acquire, release

Stub: TypeAlias = "service_pb2_grpc.LockServiceAsyncStub"
SESSION = 0x0123_4567_89AB_CDEF


@pytest.fixture
async def stubs(two_servers: Sequence[ServerProcess]) -> AsyncIterator[Sequence[Stub]]:
    """A stub of each of two servers."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(each.target)) for each in two_servers]
        yield [service_pb2_grpc.LockServiceStub(channel) for channel in channels]


@pytest.fixture
async def wire(server: ServerProcess) -> AsyncIterator[Wire]:
    """A session that brings about what there is to list."""
    async with Wire(server.target) as wire:
        await wire.open()
        yield wire


async def hold(wire: Wire, *names: str, first_id: int = 1) -> list[session_pb2.Granted]:
    """Acquire free locks."""
    ids = await wire.send(*(acquire(number, name) for number, name in enumerate(names, first_id)))
    grants = [(await wire.reply(request_id)).granted for request_id in ids]
    assert all(granted.token for granted in grants)
    return grants


async def until_folded(stubs: Sequence[Stub], grants: Sequence[session_pb2.Granted]) -> None:
    """Wait until every server has folded the last of the grants."""
    last = max(granted.token for granted in grants)

    async def folded() -> bool:
        replies = [await stub.ListLocks(service_pb2.ListLocksRequest(page_size=1)) for stub in stubs]
        return all(reply.revision >= last for reply in replies)

    await eventually(folded, "the servers have folded the grants")


async def list_locks(
    stubs: Iterator[Stub], page_size: int, **filters: Any
) -> tuple[set[int], list[service_pb2.ListLocksResponse]]:
    """All pages, each from the next of the servers; and their revisions."""
    pages: list[service_pb2.ListLocksResponse] = []
    request = service_pb2.ListLocksRequest(page_size=page_size, **filters)
    while not pages or request.page_token:
        pages.append(await next(stubs).ListLocks(request))
        request.page_token = pages[-1].next_page_token
    return {page.revision for page in pages}, pages


def names_of(pages: Sequence[service_pb2.ListLocksResponse]) -> list[str]:
    return [lock.name for page in pages for lock in page.locks]


def tokens_of(pages: Sequence[service_pb2.ListLocksResponse]) -> set[tuple[str, int]]:
    return {(lock.name, entry.token) for page in pages for lock in page.locks for entry in lock.entries}


async def refused(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> Ended:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return Ended(raised.value)


# One revision.


async def test_later_pages_show_what_was_at_the_first(stubs: Sequence[Stub], wire: Wire, name: str) -> None:
    names = [f"{name}/{number:02}" for number in range(20)]
    grants = await hold(wire, *names)
    await until_folded(stubs, grants)
    request = service_pb2.ListLocksRequest(prefix=f"{name}/", page_size=5)
    first = await stubs[0].ListLocks(request)
    for granted in grants[:15]:
        await wire.ask(release(granted))
    new = await hold(wire, f"{name}/00", f"{name}/99", first_id=100)
    await until_folded(stubs, new)
    pages = [first]
    for stub in (stubs[1], stubs[0], stubs[1]):
        request.page_token = pages[-1].next_page_token
        pages.append(await stub.ListLocks(request))
    assert pages[-1].next_page_token == ""
    assert {page.revision for page in pages} == {first.revision}
    assert names_of(pages) == names
    assert tokens_of(pages) == {(lock, granted.token) for lock, granted in zip(names, grants, strict=True)}
    _, now = await list_locks(itertools.cycle(stubs), 5, prefix=f"{name}/")
    assert names_of(now) == [f"{name}/00", *names[15:], f"{name}/99"]


async def test_while_locks_change_every_listing_is_of_one_revision(
    two_servers: Sequence[ServerProcess], stubs: Sequence[Stub], name: str
) -> None:
    """Compared with what an observer was told up to that revision."""
    stop = asyncio.Event()

    async def churn(target: str, place: int) -> None:
        async with Wire(target) as wire:
            await wire.open()
            for number in itertools.count(1):
                granted = (await hold(wire, f"{name}/{place}/{number % 7}", first_id=number))[0]
                if number % 2:
                    await wire.ask(release(granted))
                else:
                    await wire.ask(acquire(10**6 + number, f"{name}/{place}/{number % 7}"))
                    await wire.ask(release(granted))
                    await wire.ask(release((await wire.told("granted")).granted))
                if stop.is_set():
                    return

    async with Watcher(two_servers[0].target, prefix=f"{name}/") as watcher:
        assert await watcher.snapshot() == []
        churning = [
            asyncio.ensure_future(churn(server.target, place)) for place, server in enumerate([*two_servers] * 2)
        ]
        try:
            await watcher.until_changes(50)
            listings = [await list_locks(itertools.cycle(stubs), 1, prefix=f"{name}/") for _ in range(10)]
        finally:
            stop.set()
            await asyncio.gather(*churning)
        last = max(revision for revisions, _ in listings for revision in revisions)
        await watcher.until(lambda: watcher.revision > last)
        for revisions, pages in listings:
            (revision,) = revisions
            there = set[tuple[str, int]]()
            for at, change in watcher.changes:
                if at <= revision:
                    gone = kind(change) in ("RELEASED", "LEFT")
                    (there.discard if gone else there.add)((change.name, change.entry.token))
            assert tokens_of(pages) == there
    assert max(len(pages) for _, pages in listings) > 1
    assert len({frozenset(revisions) for revisions, _ in listings}) > 1, "nothing changed meanwhile"


async def test_sessions_are_listed_of_one_revision(
    two_servers: Sequence[ServerProcess], stubs: Sequence[Stub], name: str
) -> None:
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire(two_servers[each % 2].target)) for each in range(6)]
        opened = [(await each.ask(session_pb2.Open(client_name=name))).attached.session_id for each in wires]
        grants = await hold(wires[-1], name)
        await until_folded(stubs, grants)
        request = service_pb2.ListSessionsRequest(page_size=2, client_name=name)
        pages = [await stubs[0].ListSessions(request)]
        for wire in wires[:-1]:
            await wire.ask(session_pb2.Close())
        await hold(wires[-1], f"{name}/2", first_id=2)
        while request.page_token or len(pages) == 1:
            request.page_token = pages[-1].next_page_token
            pages.append(await stubs[len(pages) % 2].ListSessions(request))
            request.page_token = pages[-1].next_page_token
        assert [len(page.sessions) for page in pages] == [2, 2, 2]
        assert {page.revision for page in pages} == {pages[0].revision}
        assert [session.session_id for page in pages for session in page.sessions] == sorted(opened)
        claims = [claim.name for page in pages for session in page.sessions for claim in session.claims]
        assert claims == [name]


# Filters.


async def test_locks_are_listed_by_filters(server: ServerProcess, stubs: Sequence[Stub], wire: Wire, name: str) -> None:
    async with Wire(server.target) as other:
        mine = (await other.open()).session_id
        grants = await hold(wire, *(f"{name}/{each}" for each in ("a", "b", "c")))
        await other.ask(acquire(1, f"{name}/b"))
        grants += await hold(other, f"{name}/d", first_id=2)
        await until_folded(stubs, grants)

        async def listed(**filters: Any) -> str:
            _, pages = await list_locks(itertools.cycle(stubs), 1, **{"prefix": f"{name}/", **filters})
            return "".join(each.removeprefix(f"{name}/") for each in names_of(pages))

        assert await listed() == "abcd"
        assert await listed(held=True) == "abcd"
        assert await listed(contended=True) == "b"
        assert await listed(session_id=mine) == "bd"
        assert await listed(session_id=mine, contended=True) == "b"
        assert await listed(session_id=mine, prefix=f"{name}/d") == "d"
        assert await listed(session_id=f"{SESSION:016x}") == ""


async def test_sessions_are_listed_by_filters(
    two_servers: Sequence[ServerProcess], stubs: Sequence[Stub], name: str
) -> None:
    async with AsyncExitStack() as stack:
        ids = []
        grants = []
        for server, end in itertools.product(two_servers, "ab"):
            wire = await stack.enter_async_context(Wire(server.target))
            ids.append((await wire.ask(session_pb2.Open(client_name=f"{name}/{end}"))).attached.session_id)
            grants += await hold(wire, f"{name}/{len(ids)}")
        await until_folded(stubs, grants)

        async def listed(**filters: str) -> list[str]:
            reply = await stubs[0].ListSessions(service_pb2.ListSessionsRequest(page_size=1000, **filters))
            return [session.session_id for session in reply.sessions if session.client_name.startswith(name)]

        assert await listed() == sorted(ids)
        assert await listed(client_name=f"{name}/a") == sorted([ids[0], ids[2]])
        assert await listed(server=two_servers[1].name) == sorted(ids[2:])
        assert await listed(server=two_servers[1].name, client_name=f"{name}/b") == [ids[3]]
        assert await listed(client_name=name) == []


@pytest.mark.parametrize("bad", [{"prefix": "n" * 513}, {"session_id": "abc"}, {"page_size": -1}], ids=str)
async def test_a_filter_that_is_none_is_refused(stubs: Sequence[Stub], bad: dict[str, Any]) -> None:
    ended = await refused(stubs[0].ListLocks(service_pb2.ListLocksRequest(**bad)))
    assert (ended.code, ended.field) == (grpc.StatusCode.INVALID_ARGUMENT, next(iter(bad)))


# Page tokens.


async def test_a_page_token_belongs_to_its_filters(stubs: Sequence[Stub], wire: Wire, name: str) -> None:
    grants = await hold(wire, f"{name}/a", f"{name}/b")
    await until_folded(stubs, grants)
    first = await stubs[0].ListLocks(service_pb2.ListLocksRequest(prefix=name, page_size=1))
    token = first.next_page_token
    request = service_pb2.ListLocksRequest(prefix=name, page_size=5, page_token=token)
    assert names_of([await stubs[1].ListLocks(request)]) == [f"{name}/b"], "the page size may change, and the server"
    others: list[grpc.aio.UnaryUnaryCall[Any, Any]] = [
        stubs[0].ListLocks(service_pb2.ListLocksRequest(prefix=f"{name}/", page_token=token)),
        stubs[0].ListLocks(service_pb2.ListLocksRequest(prefix=name, held=True, page_token=token)),
        stubs[0].ListLocks(service_pb2.ListLocksRequest(prefix=name, contended=True, page_token=token)),
        stubs[0].ListSessions(service_pb2.ListSessionsRequest(page_token=token)),
    ]
    for other in others:
        ended = await refused(other)
        assert (ended.code, ended.field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")


FUTURE = paging.encode(paging.Cursor(2**40, "a"), "locks", "", False, False, "")


@pytest.mark.parametrize("bad", ["a", "next", "é", "====", "A" * 100, FUTURE, FUTURE[:-4]], ids=range(7))
async def test_a_page_token_that_no_server_gave_is_refused(stubs: Sequence[Stub], bad: str) -> None:
    ended = await refused(stubs[0].ListLocks(service_pb2.ListLocksRequest(page_token=bad)))
    assert (ended.code, ended.field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")


async def test_a_page_of_a_revision_that_is_compacted_is_refused(
    own_etcd: EtcdProcess, own_server: ServerProcess, name: str
) -> None:
    async with Wire(own_server.target) as wire, grpc.aio.insecure_channel(own_server.target) as channel:
        stub: Stub = service_pb2_grpc.LockServiceStub(channel)
        await wire.open()
        await until_folded([stub], await hold(wire, f"{name}/a", f"{name}/b"))
        request = service_pb2.ListLocksRequest(page_size=1)
        request.page_token = (await stub.ListLocks(request)).next_page_token
        new = await hold(wire, f"{name}/c", first_id=3)
        await until_folded([stub], new)
        await asyncio.to_thread(own_etcd.etcdctl, "compact", str(new[0].token))
        ended = await refused(stub.ListLocks(request))
        assert (ended.code, ended.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_COMPACTED")


# Evictions.


async def test_evictions_are_listed_the_newest_first(etcd: EtcdProcess, stubs: Sequence[Stub], name: str) -> None:
    records = [
        EvictionRecord(
            EvictionKind.FORCE_RELEASED, SESSION, name, number, number, f"reason {number}", "me", 1000.0 + number
        )
        for number in range(1, 4)
    ]
    records.append(EvictionRecord(EvictionKind.FORCE_RELEASED, SESSION, "", 0, 0, "all of it", "me", 1002.5))
    for record in records:
        value = encode_eviction(record).decode()
        await asyncio.to_thread(etcd.etcdctl, "put", f"/lockstream/e/{eviction_id(record)}", value)

    async def listed(**filters: str) -> list[lock_pb2.Eviction]:
        return [*(await stubs[0].ListEvictions(service_pb2.ListEvictionsRequest(**filters))).evictions]

    async def all_there() -> bool:
        return len(await listed(session_id=f"{SESSION:016x}")) == len(records)

    await eventually(all_there, "the server has folded them all")
    everything = await listed(session_id=f"{SESSION:016x}")
    assert [eviction.reason for eviction in everything] == ["reason 3", "all of it", "reason 2", "reason 1"]
    named = await listed(name=name)
    assert [eviction.token for eviction in named] == [3, 2, 1]
    newest = named[0]
    assert (newest.name, newest.session_id, newest.acquire_id) == (name, f"{SESSION:016x}", 3)
    assert (newest.actor, newest.evicted_at.ToMilliseconds()) == ("me", 1_003_000)
    assert await listed(name=f"{name}/other") == []


@pytest.mark.parametrize("bad", [{"name": "n" * 513}, {"session_id": "abc"}], ids=str)
async def test_evictions_of_what_cannot_be_are_refused(stubs: Sequence[Stub], bad: dict[str, str]) -> None:
    ended = await refused(stubs[0].ListEvictions(service_pb2.ListEvictionsRequest(**bad)))
    assert (ended.code, ended.field) == (grpc.StatusCode.INVALID_ARGUMENT, next(iter(bad)))
