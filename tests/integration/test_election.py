"""Elections: one leader, proclamations, and observers who miss nothing."""

import asyncio
from collections.abc import Sequence

import pytest

import lockstream
from lockstream import Leader
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.waiting import eventually, until_free, until_queued


async def told(leaders: lockstream.LeaderWatch) -> Leader | None:
    """Who leads next."""
    async with asyncio.timeout(20):
        return await anext(leaders)


async def test_candidates_lead_in_turn_and_observers_see_each(
    three_clients: Sequence[lockstream.Client], name: str
) -> None:
    """Each observer at another server sees the same leaders in the same order."""
    watches = [client.election(name).observe() for client in three_clients]
    for leaders in watches:
        assert await told(leaders) is None

    async def candidate(number: int) -> int:
        client = three_clients[number % 3]
        async with (
            client.session() as session,
            client.election(name, session=session).campaign(b"%d" % number, metadata={"n": str(number)}) as leadership,
        ):
            await leadership.proclaim(b"%d ready" % number)
            return leadership.token

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(candidate(number)) for number in range(6)]
    tokens = {task.result(): number for number, task in enumerate(tasks)}
    expected = [
        (token, value, metadata)
        for token, number in sorted(tokens.items())
        for value, metadata in ((b"%d" % number, {"n": str(number)}), (b"%d ready" % number, {}))
    ]
    for leaders in watches:
        seen: list[tuple[int, bytes, dict[str, str]]] = []
        while len(seen) < len(expected):
            leader = await told(leaders)
            if leader is not None:  # nobody leads between two who did not overlap
                seen.append((leader.token, leader.value, dict(leader.metadata)))
        assert seen == expected
        await leaders.close()


async def test_the_leader_is_known_to_who_asks(client: lockstream.Client, name: str) -> None:
    election = client.election(name)
    assert await election.leader() is None
    async with election.campaign(b"here", metadata={"zone": "a"}) as leadership:
        leader = await election.leader()
        assert leader is not None
        assert (leader.token, leader.value, leader.metadata) == (leadership.token, b"here", {"zone": "a"})
        assert leader.session_id == leadership.lock.session.id
        async with election.observe() as leaders:
            assert await told(leaders) == leader
    assert await election.leader() is None


async def test_a_lost_lead_cancels_the_leader_and_passes_on(client: lockstream.Client, name: str) -> None:
    began = asyncio.Event()

    async def lead() -> None:
        async with client.session() as session, client.election(name, session=session).campaign(b"first"):
            began.set()
            await asyncio.Event().wait()

    async with client.election(name).observe() as leaders:
        assert await told(leaders) is None
        leading = asyncio.create_task(lead())
        await began.wait()
        first = await told(leaders)
        assert first is not None
        async with client.session() as session:
            successor = asyncio.create_task(session.acquire(name, value=b"second"))
            await until_queued(client, name, 1)
            await client.admin.force_release(name, token=first.token, reason="stuck", actor="op@host")
            with pytest.raises(lockstream.LockLost) as lost:
                await leading
            assert (lost.value.detail, lost.value.actor) == ("stuck", "op@host")
            second = await told(leaders)
            assert second is not None
            assert (second.value, second.token) == (b"second", (await successor).token)


async def test_leading_ends_with_the_body(client: lockstream.Client, name: str) -> None:
    with pytest.raises(RuntimeError, match="enough"):
        async with client.election(name).campaign():
            raise RuntimeError("enough")
    await until_free(client, name)
    async with client.election(name).campaign(wait=0) as leadership:
        assert leadership.lock.held


async def test_after_a_lost_leader_nobody_leads_for_the_delay(
    own_etcd: EtcdProcess, start_server: StartServer, name: str
) -> None:
    """It is lost by the end of its session, so that the delay counts."""
    server = start_server(own_etcd.endpoint)
    async with lockstream.connect(server.target) as client, client.election(name).observe() as leaders:
        assert await told(leaders) is None
        async with client.session() as doomed:
            began = asyncio.Event()

            async def lead() -> None:
                async with client.election(name, session=doomed).campaign(b"first", lock_delay=600):
                    began.set()
                    await asyncio.Event().wait()

            leading = asyncio.create_task(lead())
            assert await told(leaders) is not None
            await began.wait()
            await client.admin.end_session(doomed.id, reason="gone", actor="op@host")
            with pytest.raises(lockstream.LockLost):
                await leading
        assert await told(leaders) is None
        assert await client.election(name).leader() is None

        async def delayed() -> bool:
            return (await client.get_lock(name)).delayed

        await eventually(delayed, "the name stays taken")
        with pytest.raises(lockstream.WouldBlock):
            async with client.election(name).campaign(wait=0):
                pass
        assert [lock.name for lock in await client.list_locks(name, held=True)] == [name]
