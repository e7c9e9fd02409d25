"""WatchLocks under load: every observer is told the same, in the same order, and can go on from anywhere."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

from lockstream.v1 import lock_pb2, session_pb2
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.watching import Kind, Watcher, kind, shown
from tests.support.wire import Wire, acquire, release


class Traffic:
    """Sessions at several servers that contend for a few names until they have had enough grants."""

    WORKERS = 6
    GRANTS = 40
    RELEASES = WORKERS * GRANTS

    def __init__(self, servers: Sequence[ServerProcess], names: Sequence[str], seed: int = 7) -> None:
        self._targets = [server.target for server in servers]
        self._names = names
        self._random = random.Random(seed)
        self.tokens: list[tuple[str, int]] = []
        """Every grant, as it was told to whoever asked."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as workers:
            for number in range(self.WORKERS):
                workers.create_task(self._work(self._targets[number % len(self._targets)]))

    async def _work(self, target: str) -> None:
        async with Wire(target) as wire:
            await wire.open()
            for acquire_id in range(1, self.GRANTS + 1):
                name = self._random.choice(self._names)
                mode = self._random.choice([lock_pb2.MODE_EXCLUSIVE, lock_pb2.MODE_SHARED])
                reply = await wire.ask(acquire(acquire_id, name, mode=mode))
                granted = reply.granted if reply.HasField("granted") else (await wire.told("granted")).granted
                self.tokens.append((name, granted.token))
                await wire.ask(release(granted))
            await wire.ask(session_pb2.Close())


def assert_whole(changes: list[tuple[int, Kind]]) -> None:
    """Every entry is queued or granted first, granted at most once, and gone in the end; revisions only grow."""
    revisions = [revision for revision, _ in changes]
    assert revisions == sorted(revisions)
    lives: dict[tuple[str, str, int], list[str]] = {}
    for _, change in changes:
        entry = change.entry
        lives.setdefault((change.name, entry.session_id, entry.token), []).append(kind(change))
    assert {tuple(life) for life in lives.values()} <= {
        ("GRANTED", "RELEASED"),
        ("QUEUED", "GRANTED", "RELEASED"),
    }


async def test_under_load_every_observer_is_told_the_same_in_the_same_order(
    two_servers: Sequence[ServerProcess], name: str
) -> None:
    names = [f"{name}/{number}" for number in range(3)]
    traffic = Traffic(two_servers, names)
    async with AsyncExitStack() as stack:
        watchers = [
            await stack.enter_async_context(Watcher(server.target, prefix=f"{name}/"))
            for server in two_servers
            for _ in range(2)
        ]
        for watcher in watchers:
            assert await watcher.snapshot() == []
        running = asyncio.ensure_future(traffic.run())
        for watcher in watchers:
            await until_over(watcher)
        await running
        told = [shown(watcher.changes) for watcher in watchers]
        assert told[1:] == told[:1] * (len(watchers) - 1)
        assert_whole(watchers[0].changes)
        grants = Counter((lock, token) for _, what, lock, token in told[0] if what == "GRANTED")
        assert grants == Counter(traffic.tokens)


async def until_over(watcher: Watcher, *before: Watcher) -> None:
    """Read until everything was released that the traffic was granted, `before` having been told the beginning."""
    await watcher.until(lambda: sum(map(releases, (watcher, *before))) >= Traffic.RELEASES)


def releases(watcher: Watcher) -> int:
    """How many it was told."""
    return sum(kind(change) == "RELEASED" for _, change in watcher.changes)


async def test_a_watch_goes_on_at_any_server_from_any_revision_that_it_told(
    own_etcd: EtcdProcess, start_server: StartServer, name: str
) -> None:
    """At the other server while its own is gone, and at its own when that is back and has seen nothing of it."""
    one, two = (start_server(own_etcd.endpoint) for _ in range(2))
    traffic = Traffic([two], [f"{name}/{number}" for number in range(3)])
    async with Watcher(two.target, prefix=name) as steady, Watcher(one.target, prefix=name) as first:
        await steady.snapshot()
        await first.snapshot()
        running = asyncio.ensure_future(traffic.run())
        await first.until_changes(50)
        one.kill()
        async with Watcher(two.target, prefix=name, after=first.revision) as second:
            await second.until_changes(50)
            await running
            one.start()
            async with Watcher(one.target, prefix=name, after=second.revision) as third:
                await until_over(steady)
                await until_over(third, first, second)
                parts = [shown(watcher.changes) for watcher in (first, second, third)]
                assert parts[0] + parts[1] + parts[2] == shown(steady.changes)
                assert all(parts)
    assert_whole(steady.changes)


async def test_every_revision_can_be_gone_on_from_while_locks_change(
    two_servers: Sequence[ServerProcess], name: str
) -> None:
    traffic = Traffic(two_servers, [f"{name}/{number}" for number in range(3)])
    async with AsyncExitStack() as stack:
        steady = await stack.enter_async_context(Watcher(two_servers[0].target, prefix=name))
        await steady.snapshot()
        running = asyncio.ensure_future(traffic.run())
        others: list[tuple[int, Watcher]] = []
        while releases(steady) < Traffic.RELEASES:
            await steady.read()
            if len(others) < 10 and len(steady.changes) > 40 * len(others):
                target = two_servers[len(others) % 2].target
                after = steady.revision
                others.append((after, await stack.enter_async_context(Watcher(target, prefix=name, after=after))))
        await running
        assert len(others) == 10
        for after, watcher in others:
            rest = [each for each in shown(steady.changes) if each[0] > after]
            await watcher.until_changes(len(rest))
            assert shown(watcher.changes) == rest
