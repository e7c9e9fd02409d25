"""Servers keep nothing that matters: they are killed, restarted and drained under their sessions."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import grpc
import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiters import Stopwatch, queue_up
from tests.support.waiting import eventually
from tests.support.wire import Wire, acquire, reason

LOCKS = 10
SESSIONS_PER_LOCK = 5
STAYS_CONNECTED = """
from contextlib import ExitStack
import lockstream.sync

with ExitStack() as stack:
    clients = [stack.enter_context(lockstream.sync.connect({target!r})) for _ in range(16)]
    print([client.get_lock("anything") for client in clients], flush=True)
    input()
"""
"""A program that keeps connections to a server until it is told that the server has stopped.

They are many because it depends on luck whether one sees the goodbye before its end.
"""


class Crowd:
    """Fifty sessions: of each lock one holds and four wait."""

    def __init__(self, name: str) -> None:
        self.names = [f"{name}/{number}" for number in range(LOCKS)]
        self.sessions: list[lockstream.Session] = []
        self.held: list[lockstream.Lock] = []
        self.waiting: list[list[asyncio.Task[lockstream.Lock]]] = []

    async def gather(self, client: lockstream.Client, stack: AsyncExitStack) -> None:
        """Open the sessions and let them queue."""
        for name in self.names:
            sessions = [await stack.enter_async_context(client.session()) for _ in range(SESSIONS_PER_LOCK)]
            self.sessions += sessions
            self.held.append(await sessions[0].acquire(name))
            self.waiting.append([await queue_up(session, name) for session in sessions[1:]])

    async def queues(self, client: lockstream.Client) -> list[list[tuple[str, int, int]]]:
        """Every entry of every lock: session, fencing token and place."""
        views = [await client.get_lock(name, linearizable=True) for name in self.names]
        return [[(entry.session_id, entry.token, entry.position) for entry in view.entries] for view in views]

    def attached(self, generation: int, server: str) -> bool:
        """Whether every session was attached that often, and is now at that server."""
        return all(
            (session.generation, session.server, session.attached) == (generation, server, True)
            for session in self.sessions
        )

    def check_held(self) -> None:
        """Nobody lost what they held, and nobody was granted what they await."""
        assert all(lock.held and not lock.lost.is_set() for lock in self.held)
        assert not any(acquiring.done() for waiting in self.waiting for acquiring in waiting)

    async def pass_on(self) -> None:
        """Every lock goes through its queue, in its order, with growing tokens."""
        for lock, waiting in zip(self.held, self.waiting, strict=True):
            holder = lock
            for position, acquiring in enumerate(waiting):
                assert not any(later.done() for later in waiting[position:])
                await holder.release()
                granted = await acquiring
                assert granted.token > holder.token
                holder = granted
            await holder.release()


@pytest.fixture
async def crowd(name: str) -> Crowd:
    """Fifty sessions to be."""
    return Crowd(name)


@pytest.fixture
async def pair(etcd: EtcdProcess, start_server: StartServer) -> Sequence[ServerProcess]:
    """Two servers of the test's own on one etcd."""
    return [start_server(etcd.endpoint) for _ in range(2)]


@pytest.fixture
async def roaming(pair: Sequence[ServerProcess]) -> AsyncIterator[lockstream.Client]:
    """A client that knows both, and tries the first first."""
    async with lockstream.connect(",".join(server.target for server in pair)) as client:
        yield client


async def test_fifty_sessions_keep_locks_tokens_and_places_when_their_server_is_killed_and_started_again(
    etcd: EtcdProcess, start_server: StartServer, crowd: Crowd
) -> None:
    server = start_server(etcd.endpoint)
    async with lockstream.connect(server.target, ttl=20) as client, AsyncExitStack() as stack:
        await crowd.gather(client, stack)
        before = await crowd.queues(client)
        server.kill()
        server.start()
        await eventually(lambda: crowd.attached(2, server.name), "all fifty have resumed")
        assert await crowd.queues(client) == before
        crowd.check_held()
        assert [await client.check_token(lock.name, lock.token) for lock in crowd.held] == [True] * LOCKS
        await crowd.pass_on()


async def test_fifty_sessions_resume_at_another_server_when_theirs_is_killed(
    pair: Sequence[ServerProcess], roaming: lockstream.Client, crowd: Crowd
) -> None:
    async with AsyncExitStack() as stack:
        await crowd.gather(roaming, stack)
        before = await crowd.queues(roaming)
        pair[0].kill()
        await eventually(lambda: crowd.attached(2, pair[1].name), "all fifty have resumed")
        assert await crowd.queues(roaming) == before
        crowd.check_held()
        await crowd.pass_on()


async def test_a_rolling_restart_loses_no_lock_and_no_place(
    pair: Sequence[ServerProcess], roaming: lockstream.Client, crowd: Crowd
) -> None:
    """Each server in turn gets SIGTERM, and ends as soon as its clients have moved to the other."""
    first, second = pair
    async with AsyncExitStack() as stack:
        await crowd.gather(roaming, stack)
        before = await crowd.queues(roaming)
        assert crowd.attached(1, first.name)
        for generation, (leaving, staying) in enumerate([(first, second), (second, first)], start=2):
            leaving.process.send_signal(signal.SIGTERM)
            drained = Stopwatch()
            await eventually(lambda leaving=leaving: not leaving.process.running, "the server has ended")
            assert leaving.process.returncode == 0
            assert drained.seconds < 5, "it does not wait for its time to run out once everybody has left"
            await eventually(lambda g=generation, s=staying: crowd.attached(g, s.name), "all fifty have moved")
            assert await crowd.queues(roaming) == before
            crowd.check_held()
            leaving.start()
        await crowd.pass_on()


async def test_a_server_that_is_started_again_renews_the_leases_of_its_sessions_before_they_are_back(
    etcd: EtcdProcess, start_server: StartServer
) -> None:
    server = start_server(etcd.endpoint)

    def remaining() -> int:
        told = etcd.etcdctl("lease", "timetolive", attached.session_id)
        return int(re.findall(r"remaining\((\d+)s\)", told)[0])

    async with Wire(server.target) as wire:
        attached = await wire.open(ttl=60)
        server.kill()
    await eventually(lambda: remaining() <= 57, "some of the TTL has passed")
    server.start()
    await eventually(lambda: remaining() >= 58, "it begins anew")
    async with Wire(server.target) as again:
        await again.resume(attached)
        assert (await again.ask(session_pb2.Close())).HasField("closed")


async def test_a_draining_server_tells_its_clients_serves_those_it_has_and_takes_no_more(
    etcd: EtcdProcess, start_server: StartServer, name: str
) -> None:
    """One that does not move is cut off when the time is over, and its session lives on."""
    server = start_server(etcd.endpoint, extra_args=["--drain-timeout=1"])
    async with Wire(server.target) as wire, Wire(server.target) as late:
        attached = await wire.open()
        server.process.send_signal(signal.SIGTERM)
        assert (await wire.event()).HasField("draining")
        granted = (await wire.ask(acquire(1, name))).granted
        assert reason((await late.ask(session_pb2.Open())).error) == "DRAINING"
        assert not server.serving()
        with pytest.raises(grpc.aio.AioRpcError) as cut_off:
            await wire.event()
        assert cut_off.value.code() is grpc.StatusCode.UNAVAILABLE
    await eventually(lambda: not server.process.running, "the server has ended")
    server.start()
    async with Wire(server.target) as again:
        resume = session_pb2.Resume(session_id=attached.session_id, resume_token=attached.resume_token)
        resumed = (await again.ask(resume)).attached
        assert [(claim.name, claim.token) for claim in resumed.claims] == [(name, granted.token)]
        assert (await again.ask(session_pb2.Close())).HasField("closed")


def test_clients_that_are_only_connected_print_nothing_when_their_server_stops(
    etcd: EtcdProcess, start_server: StartServer
) -> None:
    """A server that is just gone has gRPC print so."""
    server = start_server(etcd.endpoint)
    with subprocess.Popen(
        [sys.executable, "-c", STAYS_CONNECTED.format(target=server.target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline(), "they are connected"
            server.stop()
            _, printed = program.communicate("\n", timeout=20)
        finally:
            program.kill()
    assert (program.returncode, printed) == (0, "")
