"""What `store/port.py` promises of entries, tried on every store."""

import pytest

from lockstream_server.core.changes import EntryPut
from lockstream_server.core.model import Mode
from lockstream_server.store.port import (
    Outcome,
    PutEntry,
    RewriteEntry,
    Verdict,
)
from tests.support.stores import Subject, delete, key

NAMES = ["a", "a/b", "/a", "a/", "%2F", "/", "n" * 512, "é" * 256, "🔒"]


async def test_an_acquire_of_a_free_lock_is_granted(subject: Subject) -> None:
    session = await subject.session()
    put = subject.put(session, "a")
    [outcome] = await subject.propose(put)
    assert outcome.verdict is Verdict.GRANTED
    [entry] = (await subject.store.read_lock("a")).entries
    assert entry == EntryPut("a", key(session), session.session, put.record, outcome.revision)


async def test_an_acquire_of_a_taken_lock_is_queued(subject: Subject) -> None:
    holder, waiter = await subject.session(), await subject.session()
    [first] = await subject.propose(subject.put(holder, "a"))
    [second] = await subject.propose(subject.put(waiter, "a"))
    assert second.verdict is Verdict.QUEUED
    assert second.revision > first.revision


async def test_an_acquire_that_must_not_wait_writes_nothing(subject: Subject) -> None:
    holder, other = await subject.session(), await subject.session()
    await subject.propose(subject.put(holder, "a"))
    assert await subject.verdict(subject.put(other, "a", only_if_free=True)) is Verdict.WOULD_BLOCK
    assert await subject.entries("a") == [key(holder)]


async def test_an_acquire_that_must_not_wait_gets_a_free_lock(subject: Subject) -> None:
    session = await subject.session()
    assert await subject.verdict(subject.put(session, "a", only_if_free=True)) is Verdict.GRANTED


@pytest.mark.parametrize("only_if_free", [False, True])
@pytest.mark.parametrize("waiting", [False, True])
async def test_a_repeated_acquire_tells_of_the_first(subject: Subject, waiting: bool, only_if_free: bool) -> None:
    session = await subject.session()
    if waiting:
        await subject.propose(subject.put(await subject.session(), "a"))
    [first] = await subject.propose(subject.put(session, "a"))
    [again] = await subject.propose(subject.put(session, "a", only_if_free=only_if_free))
    assert (again.verdict, again.revision) == (Verdict.EXISTS, first.revision)
    assert len(await subject.entries("a")) == 1 + waiting


async def test_a_session_may_have_several_entries_on_a_name(subject: Subject) -> None:
    session = await subject.session()
    outcomes = await subject.propose(*(subject.put(session, "a", slot) for slot in range(3)))
    verdicts = sorted(outcome.verdict.value for outcome in outcomes)  # none is before another until etcd says so
    assert verdicts == ["granted", "queued", "queued"]


async def test_a_shared_acquire_behind_a_shared_one_is_for_the_fold_to_grant(subject: Subject) -> None:
    first, second = await subject.session(), await subject.session()
    outcomes = await subject.propose(*(subject.put(each, "a", mode=Mode.SHARED) for each in (first, second)))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.GRANTED, Verdict.QUEUED}
    await subject.follower.until(lambda: subject.follower.revision >= max(each.revision for each in outcomes))
    assert subject.follower.table.locks["a"].holding == 2


async def test_names_are_independent(subject: Subject) -> None:
    session = await subject.session()
    outcomes = await subject.propose(*(subject.put(session, name) for name in NAMES))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.GRANTED}
    await subject.follower.until(lambda: set(subject.follower.table.locks) == set(NAMES))
    for name in NAMES:
        assert await subject.entries(name) == [key(session)]


async def test_a_release_frees_the_lock_for_the_next(subject: Subject) -> None:
    holder, waiter = await subject.session(), await subject.session()
    [held] = await subject.propose(subject.put(holder, "a"))
    await subject.propose(subject.put(waiter, "a"))
    [released] = await subject.propose(delete(holder, "a", token=held.revision))
    assert released.verdict is Verdict.DELETED
    await subject.follower.until(lambda: subject.follower.revision >= released.revision)
    [entry] = subject.follower.table.locks["a"].entries
    assert (entry.session, entry.granted) == (waiter.session, True)


async def test_a_repeated_release_finds_nothing(subject: Subject) -> None:
    session = await subject.session()
    [held] = await subject.propose(subject.put(session, "a"))
    await subject.propose(delete(session, "a", token=held.revision))
    assert await subject.verdict(delete(session, "a", token=held.revision)) is Verdict.ABSENT


async def test_a_release_with_an_old_token_leaves_a_later_grant_alone(subject: Subject) -> None:
    session = await subject.session()
    [old] = await subject.propose(subject.put(session, "a"))
    await subject.propose(delete(session, "a", token=old.revision))
    [new] = await subject.propose(subject.put(session, "a"))
    assert new.revision > old.revision
    assert await subject.verdict(delete(session, "a", token=old.revision)) is Verdict.ABSENT
    assert await subject.entries("a") == [key(session)]


async def test_proposals_of_one_entry_keep_their_order(subject: Subject) -> None:
    session = await subject.session()
    [held] = await subject.propose(subject.put(session, "a"))
    outcomes = await subject.propose(
        delete(session, "a", token=held.revision), subject.put(session, "a"), subject.put(session, "a")
    )
    assert [outcome.verdict for outcome in outcomes] == [Verdict.DELETED, Verdict.GRANTED, Verdict.EXISTS]
    assert outcomes[2].revision == outcomes[1].revision


async def test_an_entry_is_rewritten_in_its_place(subject: Subject) -> None:
    session = await subject.session()
    put = subject.put(session, "a")
    [held] = await subject.propose(put)
    rewrite = value_of(put, held.revision, held.revision, b"v")
    [written] = await subject.propose(rewrite)
    assert written.verdict is Verdict.WRITTEN
    [entry] = (await subject.store.read_lock("a")).entries
    assert entry == EntryPut("a", key(session), session.session, rewrite.record, held.revision)


async def test_a_repeated_rewrite_tells_of_the_first(subject: Subject) -> None:
    put = subject.put(await subject.session(), "a")
    [held] = await subject.propose(put)
    rewrite = value_of(put, held.revision, held.revision, b"v")
    [first] = await subject.propose(rewrite)
    assert await subject.propose(rewrite) == [first]


async def test_a_rewrite_that_lands_late_undoes_nothing(subject: Subject) -> None:
    put = subject.put(await subject.session(), "a")
    [held] = await subject.propose(put)
    late = value_of(put, held.revision, held.revision, b"first")
    [first] = await subject.propose(late)
    second = value_of(put, held.revision, first.revision, b"second")
    [last] = await subject.propose(second)
    assert await subject.propose(late) == [Outcome(Verdict.EXISTS, last.revision)]
    [entry] = (await subject.store.read_lock("a")).entries
    assert entry.record == second.record


async def test_of_an_entry_that_came_later_nothing_is_rewritten(subject: Subject) -> None:
    session = await subject.session()
    put = subject.put(session, "a")
    [old] = await subject.propose(put)
    await subject.propose(delete(session, "a", token=old.revision))
    rewrite = value_of(put, old.revision, old.revision, b"v")
    assert await subject.verdict(rewrite) is Verdict.ABSENT, "nothing is there"
    [new] = await subject.propose(put)
    assert await subject.verdict(rewrite._replace(unwritten_since=new.revision)) is Verdict.ABSENT
    [entry] = (await subject.store.read_lock("a")).entries
    assert entry.record == put.record


def value_of(put: PutEntry, token: int, since: int, value: bytes) -> RewriteEntry:
    """That the entry has a value from now on."""
    record = put.record._replace(terms=put.record.terms._replace(value=value))
    return RewriteEntry(put.attachment, put.name, put.slot, token, since, record)
