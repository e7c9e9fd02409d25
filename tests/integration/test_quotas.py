"""Quotas of a client, over two servers of one etcd: the limit and the figure now are told, and nobody else notices."""

import asyncio

import pytest

import lockstream
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.waiting import eventually

QUOTAS = ["--max-sessions-per-client=2", "--max-entries-per-client=3", "--max-waiters-per-client=1"]


async def test_sessions_and_entries_are_counted_over_all_servers(
    own_etcd: EtcdProcess, start_server: StartServer
) -> None:
    servers = [start_server(own_etcd.endpoint, extra_args=QUOTAS) for _ in range(2)]
    async with (
        lockstream.connect(servers[0].target, name="greedy") as here,
        lockstream.connect(servers[1].target, name="greedy") as there,
        lockstream.connect(servers[1].target, name="modest") as other,
        other.session() as modest,
        here.session() as first,
        there.session() as second,
    ):
        await eventually(lambda: lists(here, second.id), "the session at the other server is counted")
        with pytest.raises(lockstream.QuotaExceeded) as refused:
            await here.session().open()
        assert limit(refused.value) == ("sessions_per_client", "2", "2")

        held = [await session.acquire(name) for session, name in ((first, "a"), (second, "b"), (second, "c"))]
        await eventually(lambda: refuses(first), "the entries at the other server are counted")
        await modest.acquire("d")
        for lock in held:
            await lock.release()
        await first.acquire("e")


async def test_a_client_has_so_many_waiters_for_a_lock(own_etcd: EtcdProcess, start_server: StartServer) -> None:
    server = start_server(own_etcd.endpoint, extra_args=QUOTAS)
    async with (
        lockstream.connect(server.target, name="modest") as other,
        lockstream.connect(server.target, name="greedy") as client,
        other.session() as modest,
        client.session() as session,
    ):
        await modest.acquire("a")
        queued: list[int] = []
        async with asyncio.TaskGroup() as tasks:
            waiter = tasks.create_task(session.acquire("a", owner="one", on_wait=queued.append))
            await eventually(lambda: queued == [1], "the first waits")
            with pytest.raises(lockstream.QuotaExceeded) as refused:
                await session.acquire("a", owner="two")
            assert limit(refused.value) == ("waiters_per_lock_and_client", "1", "1")
            waiter.cancel()


async def test_a_client_has_so_many_acquires_per_second(own_etcd: EtcdProcess, start_server: StartServer) -> None:
    server = start_server(own_etcd.endpoint, extra_args=["--max-requests-per-second=5"])
    async with (
        lockstream.connect(server.target, name="greedy") as client,
        lockstream.connect(server.target, name="modest") as other,
        client.session() as session,
        other.session() as modest,
    ):
        asked = (session.acquire(str(number)) for number in range(30))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        held = [outcome for outcome in outcomes if isinstance(outcome, lockstream.Lock)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, lockstream.QuotaExceeded)]
        assert len(held) >= 5
        assert len(held) + len(refused) == 30
        assert {limit(error)[:2] for error in refused} == {("requests_per_second", "5")}
        await modest.acquire("x")
        for lock in held:  # releasing is never refused
            await lock.release()


async def lists(client: lockstream.Client, session_id: str) -> bool:
    """Whether the client's server knows of the session."""
    return session_id in [session.session_id for session in await client.list_sessions()]


async def refuses(session: lockstream.Session) -> bool:
    """Whether one more entry of the session's client is refused, three being there."""
    try:
        lock = await session.acquire("one more")
    except lockstream.QuotaExceeded as error:
        return limit(error) == ("entries_per_client", "3", "3")
    await lock.release()
    return False


def limit(error: lockstream.LockstreamError) -> tuple[str, str, str]:
    """The limit that was met, its value and the figure now."""
    return error.metadata["limit"], error.metadata["maximum"], error.metadata["current"]
