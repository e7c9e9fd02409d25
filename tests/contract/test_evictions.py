"""What `store/port.py` promises of evictions, tried on every store."""

from collections.abc import Callable

import pytest

from lockstream_server.core.changes import EntryDeleted, EvictionDeleted, EvictionPut, SessionDeleted
from lockstream_server.store.keys import eviction_id
from lockstream_server.store.port import Attachment, Evict, EvictSession, Verdict
from tests.support.history import eviction, session_eviction
from tests.support.stores import Subject, key

Evicts = Callable[[Attachment, int, int], Evict | EvictSession]
"""What evicts a session, or its hold of `a`, given its token and the lease for the record."""


def evict(session: Attachment, token: int, lease: int) -> Evict:
    return Evict("a", key(session), token, eviction("a", session.session, token), lease)


def evict_session(session: Attachment, token: int, lease: int) -> EvictSession:
    return EvictSession(session.session, session.revision, session_eviction(session.session), lease)


async def holder(subject: Subject) -> tuple[Attachment, int]:
    """A session that holds `a`, and its token."""
    session = await subject.session()
    [granted] = await subject.propose(subject.put(session, "a"))
    return session, granted.revision


async def test_a_hold_is_evicted_and_that_recorded_in_one_revision(subject: Subject) -> None:
    session, token = await holder(subject)
    lease = await subject.store.grant_lease(60)
    [outcome] = await subject.propose(evict(session, token, lease.session))
    assert outcome.verdict is Verdict.DELETED
    await subject.follower.until(lambda: subject.follower.revision >= outcome.revision)
    record = eviction("a", session.session, token)
    changes = subject.follower.at(outcome.revision).changes
    assert {*changes} == {EntryDeleted("a", key(session)), EvictionPut(eviction_id(record), record)}


async def test_a_session_is_evicted_and_that_recorded_in_one_revision(subject: Subject) -> None:
    session, token = await holder(subject)
    lease = await subject.store.grant_lease(60)
    [outcome] = await subject.propose(evict_session(session, token, lease.session))
    assert outcome.verdict is Verdict.DELETED
    await subject.follower.until(lambda: subject.follower.revision >= outcome.revision)
    record = session_eviction(session.session)
    changes = subject.follower.at(outcome.revision).changes
    assert {*changes} == {SessionDeleted(session.session), EvictionPut(eviction_id(record), record)}


@pytest.mark.parametrize("evicting", [evict, evict_session])
async def test_a_repeated_eviction_is_done(subject: Subject, evicting: Evicts) -> None:
    session, token = await holder(subject)
    lease = await subject.store.grant_lease(60)
    for _ in range(2):
        assert await subject.verdict(evicting(session, token, lease.session)) is Verdict.DELETED


@pytest.mark.parametrize("evicting", [evict, evict_session])
async def test_only_what_was_seen_is_evicted(subject: Subject, evicting: Evicts) -> None:
    session, token = await holder(subject)
    lease = await subject.store.grant_lease(60)
    before = Attachment(session.session, session.revision - 1)
    assert await subject.verdict(evicting(before, token - 1, lease.session)) is Verdict.ABSENT
    assert await subject.entries("a") == [key(session)]
    assert await subject.store.read_session(session.session)


@pytest.mark.parametrize("evicting", [evict, evict_session])
async def test_nothing_is_evicted_when_the_lease_for_the_record_is_gone(subject: Subject, evicting: Evicts) -> None:
    """And what is proposed beside it is not to suffer."""
    session, token = await holder(subject)
    lease = await subject.store.grant_lease(60)
    await subject.store.revoke_lease(lease.session)
    refused, granted = await subject.propose(evicting(session, token, lease.session), subject.put(session, "b"))
    assert (refused.verdict, granted.verdict) == (Verdict.REFUSED, Verdict.GRANTED)
    assert await subject.entries("a") == [key(session)]
    assert await subject.store.read_session(session.session)


async def test_the_record_goes_with_its_lease(subject: Subject) -> None:
    session, token = await holder(subject)
    lease = await subject.store.grant_lease(60)
    await subject.propose(evict(session, token, lease.session))
    await subject.follower.until(lambda: len(subject.follower.table.evictions) == 1)
    await subject.store.revoke_lease(lease.session)
    await subject.follower.until(lambda: not subject.follower.table.evictions)
    gone = EvictionDeleted(eviction_id(eviction("a", session.session, token)))
    assert [*subject.follower.revisions[-1].changes] == [gone]
