"""What `store/port.py` promises, tried on every store."""

import asyncio

import pytest

from lockstream_server.core.changes import EntryPut, SessionDeleted, SessionPut
from lockstream_server.store.port import (
    Attachment,
    CreateSession,
    DeleteSession,
    Recorded,
    TakeOverSession,
    Verdict,
)
from tests.support.history import RECORD
from tests.support.stores import Subject, delete

# Who may write.


@pytest.mark.parametrize("why", ["superseded", "closed", "lease revoked", "never opened"])
async def test_nothing_is_written_for_a_session_not_attached_here(subject: Subject, why: str) -> None:
    session = await subject.session()
    [held] = await subject.propose(subject.put(session, "mine"))
    match why:
        case "superseded":
            await subject.propose(TakeOverSession(session.session, session.revision, RECORD._replace(generation=2)))
        case "closed":
            await subject.propose(DeleteSession(session))
        case "lease revoked":
            await subject.store.revoke_lease(session.session)
        case _:
            session = Attachment(0x123456, 1)
    before = (await subject.entries("a"), await subject.entries("mine"))
    for proposal in (
        subject.put(session, "a"),
        subject.put(session, "a", only_if_free=True),
        delete(session, "mine", token=held.revision),
        delete(session, "mine", token=5),
    ):
        assert await subject.verdict(proposal) is Verdict.REFUSED
    assert (await subject.entries("a"), await subject.entries("mine")) == before


async def test_a_session_is_recorded_and_read(subject: Subject) -> None:
    session = await subject.session()
    assert await subject.store.read_session(session.session) == Recorded(RECORD, session.revision)
    await subject.follower.until(lambda: session.session in subject.follower.table.sessions)
    assert SessionPut(session.session, RECORD, session.revision) in subject.follower.changes()


async def test_what_is_no_session_is_none(subject: Subject) -> None:
    assert await subject.store.read_session(0x123456) is None


async def test_a_repeated_opening_tells_of_the_first(subject: Subject) -> None:
    session = await subject.session()
    [again] = await subject.propose(CreateSession(session.session, RECORD))
    assert (again.verdict, again.revision) == (Verdict.WRITTEN, session.revision)


async def test_an_opening_without_a_lease_is_refused(subject: Subject) -> None:
    lease = await subject.store.grant_lease(60)
    await subject.store.revoke_lease(lease.session)
    assert await subject.verdict(CreateSession(lease.session, RECORD)) is Verdict.REFUSED


async def test_a_session_is_taken_over_once(subject: Subject) -> None:
    session = await subject.session()
    records = [RECORD._replace(server=server, generation=2) for server in ("server-2", "server-3")]
    proposals = [TakeOverSession(session.session, session.revision, record) for record in records]
    bystander = await subject.session()
    *outcomes, put = await subject.propose(*proposals, subject.put(bystander, "a"))
    assert sorted(outcome.verdict.value for outcome in outcomes) == ["refused", "written"]
    assert put.verdict is Verdict.GRANTED
    recorded = await subject.store.read_session(session.session)
    [winner] = [outcome for outcome in outcomes if outcome.verdict is Verdict.WRITTEN]
    assert recorded is not None
    assert recorded == Recorded(records[outcomes.index(winner)], winner.revision)


async def test_a_repeated_takeover_tells_of_the_first(subject: Subject) -> None:
    session = await subject.session()
    takeover = TakeOverSession(session.session, session.revision, RECORD._replace(generation=2))
    [first] = await subject.propose(takeover)
    [again] = await subject.propose(takeover)
    assert (again.verdict, again.revision) == (Verdict.WRITTEN, first.revision)


async def test_the_end_of_a_session_is_guarded_too(subject: Subject) -> None:
    session = await subject.session()
    [taken] = await subject.propose(TakeOverSession(session.session, session.revision, RECORD._replace(generation=2)))
    assert await subject.verdict(DeleteSession(session)) is Verdict.REFUSED
    assert await subject.verdict(DeleteSession(Attachment(session.session, taken.revision))) is Verdict.DELETED
    assert await subject.verdict(DeleteSession(session)) is Verdict.ABSENT
    assert await subject.store.read_session(session.session) is None


# Many at once.


async def test_of_200_on_one_name_exactly_one_is_granted(subject: Subject) -> None:
    sessions = [await subject.session() for _ in range(20)]
    proposals = [subject.put(session, "a", slot) for slot in range(10) for session in sessions]
    outcomes = await subject.propose(*proposals)
    assert [outcome.verdict for outcome in outcomes].count(Verdict.GRANTED) == 1
    assert [outcome.verdict for outcome in outcomes].count(Verdict.QUEUED) == 199
    assert len({outcome.revision for outcome in outcomes}) == 200
    await subject.follower.until(lambda: len(subject.follower.table.locks["a"].entries) == 200)
    [holder] = [entry for entry in subject.follower.table.locks["a"].entries if entry.granted]
    [granted] = [outcome for outcome in outcomes if outcome.verdict is Verdict.GRANTED]
    assert holder.token == granted.revision


async def test_200_on_distinct_names_are_all_granted(subject: Subject) -> None:
    session = await subject.session()
    outcomes = await subject.propose(*(subject.put(session, f"name-{number}") for number in range(200)))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.GRANTED}
    await subject.follower.until(lambda: len(subject.follower.table.locks) == 200)


async def test_handing_over_within_one_burst_grants_each_exactly_once(subject: Subject) -> None:
    """Releases and acquires of one name meet in the same transactions."""
    sessions = [await subject.session() for _ in range(10)]
    outcomes = await subject.propose(*(subject.put(session, "a") for session in sessions))
    releases = [delete(session, "a", token=put.revision) for session, put in zip(sessions, outcomes, strict=True)]
    outcomes = await subject.propose(*releases, *(subject.put(session, "a") for session in sessions))
    assert [outcome.verdict for outcome in outcomes[:10]] == [Verdict.DELETED] * 10
    last = max(outcome.revision for outcome in outcomes)
    await subject.follower.until(lambda: subject.follower.revision >= last)
    [holder] = [entry for entry in subject.follower.table.locks["a"].entries if entry.granted]
    granted = [outcome.revision for outcome in outcomes if outcome.verdict is Verdict.GRANTED]
    assert granted in ([], [holder.token])


async def test_a_bad_proposal_does_not_fail_its_neighbours(subject: Subject) -> None:
    good = await subject.session()
    dead = await subject.session()
    lease = await subject.store.grant_lease(60)
    await subject.store.revoke_lease(lease.session)
    await subject.store.revoke_lease(dead.session)
    outcomes = await subject.propose(
        subject.put(good, "a"),
        CreateSession(lease.session, RECORD),
        subject.put(dead, "b"),
        subject.put(good, "c"),
    )
    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.GRANTED,
        Verdict.REFUSED,
        Verdict.REFUSED,
        Verdict.GRANTED,
    ]


# Leases.


async def test_a_revoked_lease_takes_the_record_of_its_session_and_no_entry(subject: Subject) -> None:
    """It may have ended before its time; who is to free the entries, and when, is not for etcd to say."""
    session, other = await subject.session(), await subject.session()
    await subject.propose(*(subject.put(session, name) for name in "abc"), subject.put(other, "a"))
    await subject.follower.until(lambda: len(subject.follower.table.locks) == 3)
    await subject.store.revoke_lease(session.session)
    await subject.follower.until(lambda: subject.follower.table.sessions[session.session].record is None)
    assert subject.follower.revisions[-1].changes == [SessionDeleted(session.session)]
    assert [entry.granted for entry in subject.follower.table.locks["a"].entries] == [True, False]
    assert await subject.verdict(subject.put(session, "d")) is Verdict.REFUSED


async def test_revoking_a_lease_that_is_gone_is_fine(subject: Subject) -> None:
    lease = await subject.store.grant_lease(60)
    await subject.store.revoke_lease(lease.session)
    await subject.store.revoke_lease(lease.session)
    await subject.store.revoke_lease(0x123456)


async def test_a_lease_lives_as_long_as_it_is_renewed(subject: Subject) -> None:
    loop = asyncio.get_running_loop()
    session = await subject.session(ttl=2)
    sent_at = loop.time()
    first_proof = sent_at + 2
    while loop.time() < first_proof:
        sent_at = loop.time()
        assert await renewed(subject, session.session)
        await asyncio.sleep(0.3)
    assert session.session in subject.follower.table.sessions
    await subject.follower.until(lambda: session.session not in subject.follower.table.sessions)
    assert loop.time() >= sent_at + 2, "a lease ends no earlier than its renewal proves"
    assert subject.follower.revisions[-1].changes == [SessionDeleted(session.session)]
    assert not await renewed(subject, session.session)


async def test_two_who_renew_at_once_are_both_answered(subject: Subject) -> None:
    session = await subject.session()
    assert await asyncio.gather(*(renewed(subject, session.session) for _ in range(3))) == [True] * 3


async def test_what_is_no_lease_cannot_be_renewed(subject: Subject) -> None:
    assert not await renewed(subject, 0x123456)


async def renewed(subject: Subject, lease: int) -> bool:
    """Ask for a renewal and wait for the answer."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    subject.store.renew_lease(lease, answer.set_result)
    async with asyncio.timeout(10):
        return await answer


# The feed.


async def test_the_feed_begins_with_what_is_there(subject: Subject) -> None:
    session = await subject.session()
    [held] = await subject.propose(subject.put(session, "a"))
    late = await Subject(subject.store).begun()
    try:
        [snapshot] = late.follower.snapshots
        assert snapshot.revision >= held.revision
        assert [(put.name, put.token) for put in snapshot.entries] == [("a", held.revision)]
        assert [put.session for put in snapshot.sessions] == [session.session]
    finally:
        await late.stop()


async def test_the_feed_brings_every_revision_once_and_in_order(subject: Subject) -> None:
    sessions = [await subject.session() for _ in range(5)]
    written = [session.revision for session in sessions]
    for slot in range(10):
        puts = await subject.propose(*(subject.put(session, "a", slot) for session in sessions))
        releases = [delete(session, "a", slot, token=put.revision) for session, put in zip(sessions, puts, strict=True)]
        written += [outcome.revision for outcome in (*puts, *await subject.propose(*releases))]
    last = max(written)
    await subject.follower.until(lambda: subject.follower.revision >= last)
    numbers = [revision.number for revision in subject.follower.revisions]
    assert numbers == sorted(set(numbers))
    assert set(numbers) == set(written)
    assert sum(isinstance(change, EntryPut) for change in subject.follower.changes()) == 50
    assert len(subject.follower.snapshots) == 1


async def test_the_feed_is_known_to_be_current(subject: Subject) -> None:
    assert subject.store.lag < 5


async def test_counts_grow(subject: Subject) -> None:
    session = await subject.session()
    before = (subject.store.proposals, subject.store.transactions)
    await subject.propose(*(subject.put(session, f"name-{number}") for number in range(10)))
    assert subject.store.proposals == before[0] + 10
    assert before[1] < subject.store.transactions <= before[1] + 10
