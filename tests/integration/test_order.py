"""Who is next: the order in which etcd committed the acquires, whatever server they came through."""

import asyncio
import base64
import json
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

import lockstream
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiting import eventually, until_queued


async def test_waiters_are_granted_in_turn_as_holders_leave(client: lockstream.Client, name: str) -> None:
    """X6: the holder and two waiters hold for two seconds each, so they are granted at 0, 2 and 4 s."""
    began = time.monotonic()

    async def hold_for_two_seconds(session: lockstream.Session) -> float:
        async with session.lock(name):
            granted_at = time.monotonic() - began
            await asyncio.sleep(2)  # the work under the lock
        return granted_at

    turns: list[asyncio.Task[float]] = []

    async def everybody_asked() -> bool:
        return len((await client.get_lock(name, linearizable=True)).entries) == len(turns)

    async with client.session() as first, client.session() as second, client.session() as third:
        for session in (first, second, third):
            turns.append(asyncio.create_task(hold_for_two_seconds(session)))
            await eventually(everybody_asked, f"{len(turns)} in the queue")
        at_first, at_second, at_third = await asyncio.gather(*turns)
    assert at_first < 1
    assert 2 <= at_second - at_first < 2.9
    assert 2 <= at_third - at_second < 2.9


@pytest.mark.parametrize(("servers", "waiters", "rounds"), [(3, 3, 10), (2, 40, 2)])
async def test_waiters_of_several_servers_are_granted_in_commit_order(
    etcd: EtcdProcess,
    three_servers: Sequence[ServerProcess],
    name: str,
    lock_key: str,
    servers: int,
    waiters: int,
    rounds: int,
) -> None:
    """X11: the order of the keys' create revisions, read from etcd itself, is the order of the grants."""
    granted: list[str] = []

    async def take_a_turn(session: lockstream.Session) -> None:
        async with session.lock(name):
            granted.append(session.id)

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(lockstream.connect(server.target)) for server in three_servers[:servers]
        ]
        sessions = [await stack.enter_async_context(clients[index % servers].session()) for index in range(waiters + 1)]
        for number in range(rounds):
            granted.clear()
            async with sessions[0].lock(name):
                asking = random.Random(number).sample(sessions[1:], waiters)
                turns = [asyncio.create_task(take_a_turn(session)) for session in asking]
                await until_queued(clients[0], name, waiters)
                holder, *queue = _committed(etcd, lock_key)
            await asyncio.gather(*turns)
            assert holder == sessions[0].id
            assert granted == queue


async def test_every_server_shows_the_same_queue(three_servers: Sequence[ServerProcess], name: str) -> None:
    """X11: who asks one server sees holders and waiters of the others, with tokens and places."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(lockstream.connect(server.target)) for server in three_servers]
        sessions = [await stack.enter_async_context(client.session()) for client in clients]
        held = await sessions[0].acquire(name)
        waiting = []
        for place, session in enumerate(sessions[1:], start=1):
            waiting.append(asyncio.create_task(session.acquire(name)))
            await until_queued(clients[0], name, place)
        expected = [(session.id, place) for place, session in enumerate(sessions)]

        async def agreed() -> bool:
            views = [await client.get_lock(name) for client in clients]
            return all([(entry.session_id, entry.position) for entry in view.entries] == expected for view in views)

        await eventually(agreed, "every server has folded the whole queue")
        tokens = [entry.token for entry in (await clients[0].get_lock(name)).entries]
        assert [await client.check_token(name, held.token) for client in clients] == [True] * 3
        await held.release()
        for expected_token, waiter in zip(tokens[1:], waiting, strict=True):
            lock = await waiter
            assert lock.token == expected_token
            await lock.release()


def _committed(etcd: EtcdProcess, lock_key: str) -> list[str]:
    """The sessions with an entry of the lock, in the order in which etcd created the keys."""
    listing = json.loads(etcd.etcdctl("get", "--prefix", f"{lock_key}/", "--keys-only", "--write-out=json"))
    keys = sorted(listing["kvs"], key=lambda kv: int(kv["create_revision"]))
    assert len({kv["create_revision"] for kv in keys}) == len(keys)
    return [base64.b64decode(kv["key"]).decode().rpartition("/")[2].partition(".")[0] for kv in keys]
