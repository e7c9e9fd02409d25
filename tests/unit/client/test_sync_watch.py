"""Watching, electing and breaking without asyncio, on a server in this process."""

from __future__ import annotations

import itertools
import signal
import threading
from typing import TYPE_CHECKING

import pytest

import lockstream
import lockstream.sync
from lockstream import ChangeKind, LockChanges, LocksSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from lockstream.testing import LockstreamServer


@pytest.fixture
def client(lockstream_server: LockstreamServer) -> Iterator[lockstream.sync.Client]:
    with lockstream.sync.connect(lockstream_server.target) as client:
        yield client


def test_a_watch_is_an_iterator(client: lockstream.sync.Client) -> None:
    with client.watch_locks("a") as watch:
        snapshot = next(watch)
        assert isinstance(snapshot, LocksSnapshot)
        assert snapshot.locks == ()
        with client.lock("a", value=b"me") as lock:
            token = lock.token
        granted, released = itertools.islice(watch, 2)
    assert isinstance(granted, LockChanges)
    assert isinstance(released, LockChanges)
    changes = [*granted.changes, *released.changes]
    assert [(one.kind, one.entry.token, one.entry.value) for one in changes] == [
        (ChangeKind.GRANTED, token, b"me"),
        (ChangeKind.RELEASED, token, b"me"),
    ]
    assert list(watch) == []


@pytest.mark.parametrize("whole_client", [False, True], ids=["watch", "client"])
def test_closing_ends_a_thread_that_waits(lockstream_server: LockstreamServer, whole_client: bool) -> None:
    client = lockstream.sync.connect(lockstream_server.target)
    watch = client.watch_locks("a")
    told: list[object] = []
    began = threading.Event()

    def read() -> None:
        for each in watch:
            told.append(each)
            began.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(10)
    (client if whole_client else watch).close()
    reader.join(10)
    assert not reader.is_alive()
    assert len(told) == 1
    watch.close()
    if not whole_client:
        client.close()


def test_an_interrupted_watch_loses_nothing(client: lockstream.sync.Client) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    watch = client.watch_locks("a")
    next(watch)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            next(watch)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with client.lock("a"):
        changes = next(watch)
    assert isinstance(changes, LockChanges)
    assert [one.kind for one in changes.changes] == [ChangeKind.GRANTED]


def test_an_election_has_one_leader_after_the_other(client: lockstream.sync.Client) -> None:
    election = client.election("e")
    assert election.leader() is None
    with election.observe() as leaders:
        assert next(leaders) is None
        with election.campaign(b"one", metadata={"zone": "a"}) as leadership:
            first = next(leaders)
            assert first is not None
            assert (first.value, first.metadata, first.token) == (b"one", {"zone": "a"}, leadership.token)
            leadership.proclaim(b"two")
            second = next(leaders)
            assert second == election.leader()
            assert second is not None
            assert (second.value, second.metadata, second.token) == (b"two", {}, leadership.token)
            with (
                client.session() as rival,
                pytest.raises(lockstream.WouldBlock),
                client.election("e", session=rival).campaign(wait=0),
            ):
                pass
        assert next(leaders) is None


def test_breaking_a_lock_is_told_and_kept(client: lockstream.sync.Client) -> None:
    with client.session() as session:
        lock = session.acquire("a")
        (eviction,) = client.admin.force_release("a", token=lock.token, reason="stuck", actor="op@host")
        assert (eviction.session_id, eviction.token) == (session.id, lock.token)
        lock.lost.wait()
        assert (lock.lost.reason, lock.lost.detail) == (lockstream.LossReason.FORCE_RELEASED, "stuck")
        assert client.list_evictions("a") == [eviction]
        assert not client.inspect_token("a", lock.token).held
        assert client.inspect_token("a", lock.token).highest_token == lock.token
        client.admin.end_session(session.id, reason="done", actor="op@host")
        with pytest.raises(lockstream.SessionExpired):
            session.acquire("a")
    assert client.list_sessions() == []
