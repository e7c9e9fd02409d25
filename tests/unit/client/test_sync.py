"""The synchronous twin, on a server in this process."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

import lockstream
import lockstream.sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from lockstream.testing import LockstreamServer


@pytest.fixture
def client(lockstream_server: LockstreamServer) -> Iterator[lockstream.sync.Client]:
    with lockstream.sync.connect(lockstream_server.target) as client:
        yield client


def test_a_lock_is_held_during_the_body(client: lockstream.sync.Client) -> None:
    with client.session() as session, session.lock("a") as lock:
        assert client.check_token("a", lock.token)
        assert not lock.lost.is_set()
        lock.check()
    assert client.list_locks() == []


def test_threads_are_owners_of_their_own(client: lockstream.sync.Client) -> None:
    counter = 0

    def count(session: lockstream.sync.Session) -> None:
        nonlocal counter
        for _ in range(10):
            with session.lock("counter"):
                seen = counter
                client.get_lock("counter")
                counter = seen + 1

    with client.session() as session:
        threads = [threading.Thread(target=count, args=(session,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counter == 40


def test_the_same_thread_asking_again_is_told_at_once(client: lockstream.sync.Client) -> None:
    """X13."""
    with client.session() as session, session.lock("a"), pytest.raises(lockstream.AlreadyHeld):
        session.acquire("a")


def test_a_try_returns_at_once(client: lockstream.sync.Client) -> None:
    with client.session() as one, client.session() as two, one.lock("a"):
        assert two.try_lock("a") is None


def test_a_lock_lost_during_the_body_is_reported_at_its_end(client: lockstream.sync.Client) -> None:
    session = client.session()
    session.open()
    seen: list[lockstream.LossReason | None] = []

    def body() -> None:
        with session.lock("a") as lock:
            session.close()
            seen.append(lock.lost.wait())

    with pytest.raises(lockstream.LockLost):
        body()
    assert seen == [lockstream.LossReason.LEASE_EXPIRED]


def test_an_interrupted_acquire_leaves_the_queue(client: lockstream.sync.Client) -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with client.session() as one, client.session() as two, one.lock("a") as lock:
        main = threading.get_ident()
        before = signal.signal(signal.SIGUSR1, interrupt)

        def on_wait(_position: int) -> None:
            signal.pthread_kill(main, signal.SIGUSR1)

        try:
            with pytest.raises(KeyboardInterrupt):
                two.acquire("a", on_wait=on_wait)
        finally:
            signal.signal(signal.SIGUSR1, before)
        # Its own owner asks again only once the interrupted acquire is gone.
        assert two.try_lock("a") is None
        assert [entry.token for entry in client.get_lock("a").entries] == [lock.token]


def test_a_closed_client_refuses(lockstream_server: LockstreamServer) -> None:
    client = lockstream.sync.connect(lockstream_server.target)
    client.close()
    with pytest.raises(lockstream.WrongState):
        client.list_locks()


async def test_the_fixture_serves_asynchronous_tests_too(
    lockstream_server: LockstreamServer,
) -> None:
    async with lockstream.connect(lockstream_server.target) as client, client.lock("a") as lock:
        assert await client.check_token("a", lock.token)
