"""Reading what was: the state at an earlier revision and every revision since, on every store."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

import pytest

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.table import Table
from lockstream_server.store.etcd import EtcdStore
from lockstream_server.store.memory import MemoryStore
from lockstream_server.store.memory_history import MemoryHistory
from lockstream_server.store.port import FutureRevisionError
from tests.contract.conftest import etcd_store, followed, new_prefix
from tests.support.etcd import EtcdProcess
from tests.support.history import foreign
from tests.support.stores import PATIENCE, Subject, delete

Compact = Callable[[Subject, int], Awaitable[None]]


@pytest.fixture
def compact(request: pytest.FixtureRequest) -> Compact:
    """Lets a store forget everything before a revision."""

    async def run(subject: Subject, revision: int) -> None:
        if isinstance(subject.store, MemoryStore):
            subject.store.history.compact(revision)
        else:
            etcd: EtcdProcess = request.getfixturevalue("etcd")
            await asyncio.to_thread(etcd.etcdctl, "compact", str(revision))

    return run


@pytest.fixture
def own_etcd() -> Iterator[EtcdProcess]:
    """An etcd to freeze."""
    with EtcdProcess() as etcd:
        yield etcd


async def history(subject: Subject, after: int, until: int) -> list[Revision]:
    """Everything that was read of the history."""
    async with asyncio.timeout(PATIENCE), aclosing(subject.store.read_history(after, until)) as revisions:
        return [revision async for revision in revisions]


async def some_history(subject: Subject) -> None:
    """Sessions that come and go, entries that hold, wait and end; folded by the follower."""
    kept, lost = await subject.session(), await subject.session()
    first, second, *_ = await subject.propose(*(subject.put(kept, name) for name in "abc"), subject.put(lost, "d"))
    await subject.propose(subject.put(lost, "a"), subject.put(kept, "d", slot=1))
    await subject.propose(delete(kept, "a", token=first.revision), delete(kept, "b", token=second.revision))
    await subject.store.revoke_lease(lost.session)
    [last] = await subject.propose(subject.put(kept, "b", slot=2))
    await subject.follower.until(lambda: subject.follower.revision >= last.revision)


def folded(snapshot: Snapshot, *revisions: Revision) -> str:
    """Who holds and who waits after a snapshot and what came after it; locks in the order of their names.

    Of a session that is over only the history tells when it was attached.
    """
    table = Table()
    table.fold(table.difference(snapshot))
    for revision in revisions:
        table.fold(revision)
    locks = sorted(table.locks.items())
    sessions = sorted((key, live.record, live.record and live.attached_at) for key, live in table.sessions.items())
    return f"{table.revision} {locks} {sessions}"


async def test_the_history_is_what_was_fed(subject: Subject) -> None:
    begun = subject.follower.revision
    await some_history(subject)
    fed = subject.follower.revisions
    assert len(fed) >= 6
    assert await history(subject, begun, fed[-1].number) == fed


async def test_a_part_of_the_history_is_that_part(subject: Subject) -> None:
    await some_history(subject)
    fed = subject.follower.revisions
    assert await history(subject, fed[1].number, fed[-2].number) == fed[2:-1]
    assert await history(subject, fed[1].number, fed[2].number) == [fed[2]]


async def test_there_is_no_history_after_its_end(subject: Subject) -> None:
    await some_history(subject)
    first, last = subject.follower.revisions[0].number, subject.follower.revision
    assert await history(subject, last, last) == []
    assert await history(subject, last, first) == []


async def test_every_state_can_be_read_and_gone_on_from(subject: Subject) -> None:
    await some_history(subject)
    fed = subject.follower.revisions
    now = folded(await subject.store.read_state(fed[-1].number))
    states = set()
    for index, revision in enumerate(fed):
        state = await subject.store.read_state(revision.number)
        assert state.revision == revision.number
        states.add(folded(state))
        assert folded(state, *fed[index + 1 :]) == now
    assert len(states) == len(fed), "each revision changed something"


async def test_a_history_that_the_feed_has_not_brought_ends_all_the_same(etcd: EtcdProcess) -> None:
    """A server that has just begun, with a snapshot, is asked for what came before it."""
    prefix = new_prefix()
    async with followed(etcd_store(etcd, prefix=prefix)) as earlier:
        begun = earlier.follower.revision
        await some_history(earlier)
        happened = [*earlier.follower.revisions]
        # Something beyond the prefix, so that the snapshot is of a revision which changed nothing under it.
        await asyncio.to_thread(etcd.etcdctl, "put", "/elsewhere", "")
        async with followed(etcd_store(etcd, prefix=prefix)) as later:
            assert later.follower.revision > happened[-1].number
            assert await history(later, begun, later.follower.revision) == happened


async def test_a_long_history_comes_whole(subject: Subject) -> None:
    """More than etcd sends at once (1000 revisions)."""
    session = await subject.session()
    begun = session.revision
    for _ in range(1_100):
        [held] = await subject.propose(subject.put(session, "a"))
        await subject.propose(delete(session, "a", token=held.revision))
    await subject.follower.until(lambda: subject.follower.revision >= begun + 2_200)
    fed = [revision for revision in subject.follower.revisions if revision.number > begun]
    assert len(fed) >= 2_200
    assert await history(subject, begun, fed[-1].number) == fed


async def test_leaving_a_history_early_leaves_nothing_behind(subject: Subject) -> None:
    begun = subject.follower.revision
    await some_history(subject)
    last = subject.follower.revision
    async with aclosing(subject.store.read_history(begun, last)) as revisions:
        async for revision in revisions:
            assert revision == subject.follower.revisions[0]
            break
    assert await history(subject, begun, last) == subject.follower.revisions


async def test_what_is_compacted_cannot_be_read(subject: Subject, compact: Compact) -> None:
    await some_history(subject)
    fed = subject.follower.revisions
    kept = fed[3].number
    await compact(subject, kept)
    assert (await subject.store.read_state(kept)).revision == kept, "the revision itself is kept"
    assert await history(subject, kept, fed[-1].number) == fed[4:]
    with pytest.raises(LockError) as state:
        await subject.store.read_state(fed[2].number)
    with pytest.raises(LockError) as since:
        await history(subject, fed[1].number, fed[-1].number)
    assert [state.value.reason, since.value.reason] == [Reason.HISTORY_COMPACTED] * 2


async def test_what_is_yet_to_come_cannot_be_read(subject: Subject) -> None:
    await some_history(subject)
    with pytest.raises(FutureRevisionError):
        await subject.store.read_state(subject.follower.revision + 1_000_000)


async def test_a_frozen_etcd_is_unavailable(own_etcd: EtcdProcess) -> None:
    store = etcd_store(own_etcd, dial_timeout=0.5, request_timeout=0.3)
    async with followed(store) as subject:
        begun = subject.follower.revision
        await some_history(subject)
        own_etcd.freeze()
        try:
            assert isinstance(store, EtcdStore)
            with pytest.raises(LockError) as state:
                await store.read_state(begun)
            with pytest.raises(LockError) as since:
                await history(subject, begun, subject.follower.revision)
        finally:
            own_etcd.thaw()
        assert [state.value.reason, since.value.reason] == [Reason.STORE_UNAVAILABLE] * 2


def test_in_process_only_so_many_revisions_are_kept() -> None:
    kept = MemoryHistory(1, limit=3)
    for number in range(2, 9):
        kept.add(Revision(number, [foreign("a", str(number), number)]))
    assert [revision.number for revision in kept.since(5, 8)] == [6, 7, 8]
    assert [put.key for put in kept.state(5).entries] == ["2", "3", "4", "5"]
    with pytest.raises(LockError) as raised:
        kept.state(4)
    assert raised.value.reason is Reason.HISTORY_COMPACTED
