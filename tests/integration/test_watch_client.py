"""The Python client's watches and listings, on real servers that come and go."""

import asyncio
from collections.abc import Sequence

import pytest

import lockstream
from lockstream import ChangeKind, LockChange, LockChanges, LocksSnapshot, LossReason
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiting import until_queued

REASON, ACTOR = "stuck", "op@host"


class Reader:
    """Reads a watch as it comes."""

    def __init__(self, watch: lockstream.LockWatch) -> None:
        self.snapshots: list[LocksSnapshot] = []
        self.changes: list[LockChange] = []
        self.watch = watch

    async def until_snapshot(self) -> LocksSnapshot:
        """Read up to the next snapshot."""
        before = len(self.snapshots)
        while len(self.snapshots) == before:
            await self._read()
        return self.snapshots[-1]

    async def until(self, number: int) -> list[tuple[ChangeKind, int]]:
        """Read until there are so many changes, and tell their kinds and tokens."""
        while len(self.changes) < number:
            await self._read()
        return [(change.kind, change.entry.token) for change in self.changes]

    async def _read(self) -> None:
        async with asyncio.timeout(20):
            told = await anext(self.watch)
        if isinstance(told, LockChanges):
            self.changes += told.changes
        else:
            self.snapshots.append(told)


async def test_a_watch_tells_what_happens_in_order(client: lockstream.Client, name: str) -> None:
    async with client.session() as session, client.watch_locks(name) as watch:
        reader = Reader(watch)
        assert (await reader.until_snapshot()).locks == ()
        held = await session.acquire(name, value=b"one")
        waiting = asyncio.create_task(session.acquire(name, owner="second"))
        await until_queued(client, name, 1)
        await held.set_value(b"two", {"zone": "a"})
        await held.release()
        second = await waiting
        await client.admin.force_release(name, token=second.token, reason=REASON, actor=ACTOR)
        assert await reader.until(6) == [
            (ChangeKind.GRANTED, held.token),
            (ChangeKind.QUEUED, second.token),
            (ChangeKind.CHANGED, held.token),
            (ChangeKind.RELEASED, held.token),
            (ChangeKind.GRANTED, second.token),
            (ChangeKind.LOST, second.token),
        ]
        granted, _, changed, *_, lost = reader.changes
        assert (granted.entry.value, changed.entry.value, changed.entry.metadata) == (b"one", b"two", {"zone": "a"})
        assert lost.reason is LossReason.FORCE_RELEASED


async def test_a_watch_goes_on_where_another_ended(client: lockstream.Client, name: str) -> None:
    async with client.session() as session:
        async with client.watch_locks(prefix=f"{name}/") as watch:
            await Reader(watch).until_snapshot()
        lock = await session.acquire(f"{name}/a")
        await lock.release()
        async with client.watch_locks(prefix=f"{name}/", after_revision=watch.revision) as again:
            reader = Reader(again)
            assert await reader.until(2) == [(ChangeKind.GRANTED, lock.token), (ChangeKind.RELEASED, lock.token)]
            assert reader.snapshots == []


@pytest.mark.parametrize("ending", ["kill", "stop"])
async def test_nothing_is_missed_while_servers_come_and_go(
    own_etcd: EtcdProcess, start_server: StartServer, name: str, ending: str
) -> None:
    servers = [start_server(own_etcd.endpoint) for _ in range(2)]
    both = ",".join(server.target for server in servers)
    tokens: list[int] = []

    async def turn(session: lockstream.Session) -> None:
        lock = await session.acquire(name)
        tokens.append(lock.token)
        await lock.release()

    async with lockstream.connect(both) as client, client.watch_locks(name) as watch:
        reader = Reader(watch)
        await reader.until_snapshot()
        for server, other in (servers, servers[::-1]):
            async with lockstream.connect(other.target) as elsewhere, elsewhere.session() as session:
                await turn(session)
                await asyncio.to_thread(getattr(server, ending))
                await turn(session)
                await reader.until(2 * len(tokens))
                await turn(session)
                await asyncio.to_thread(server.start)
                await reader.until(2 * len(tokens))
        expected = [(kind, token) for token in tokens for kind in (ChangeKind.GRANTED, ChangeKind.RELEASED)]
        assert await reader.until(len(expected)) == expected
        assert len(reader.snapshots) == 1


async def test_a_compacted_past_is_a_snapshot(own_etcd: EtcdProcess, own_server: ServerProcess, name: str) -> None:
    async with lockstream.connect(own_server.target) as client, client.session() as session:
        early = await session.acquire(f"{name}/early")
        await early.release()
        late = await session.acquire(f"{name}/late")
        own_etcd.etcdctl("compact", str(late.token))
        own_server.restart()  # what it remembered of the past is gone with it
        async with client.watch_locks(prefix=name, after_revision=early.token - 1) as watch:
            reader = Reader(watch)
            snapshot = await reader.until_snapshot()
            assert [lock.name for lock in snapshot.locks] == [f"{name}/late"]
            await late.release()
            assert await reader.until(1) == [(ChangeKind.RELEASED, late.token)]


# Listing.


async def test_listings_are_filtered(three_clients: Sequence[lockstream.Client], name: str) -> None:
    one, two, looking = three_clients
    async with one.session(name=f"{name}/one") as first, two.session(name=f"{name}/two") as second:
        await first.acquire(f"{name}/free-for-all", shared=True)
        taken = await first.acquire(f"{name}/contended")
        waiting = asyncio.create_task(second.acquire(taken.name))
        await until_queued(looking, taken.name, 1)

        async def names(**filters: bool | str) -> list[str]:
            found = await looking.list_locks(f"{name}/", **filters)  # type: ignore[arg-type]  # each is of its type
            return [lock.name.removeprefix(f"{name}/") for lock in found]

        assert await names() == ["contended", "free-for-all"]
        assert await names(held=True) == ["contended", "free-for-all"]
        assert await names(contended=True) == ["contended"]
        assert await names(session_id=second.id) == ["contended"]
        assert await names(session_id=second.id, held=True, contended=True) == ["contended"]
        by_client = await looking.list_sessions(client_name=f"{name}/one")
        assert [session.session_id for session in by_client] == [first.id]
        on_server = await looking.list_sessions(server=second.server)
        assert second.id in {session.session_id for session in on_server}
        assert {session.server for session in on_server} == {second.server}
        await taken.release()
        await waiting


async def test_a_token_is_looked_at_with_the_highest_one(client: lockstream.Client, name: str) -> None:
    async with client.session() as session:
        old = await session.acquire(name)
        await old.release()
        new = await session.acquire(name)
        status = await client.inspect_token(name, old.token)
        assert (status.held, status.highest_token) == (False, new.token)
        assert status.revision >= new.token
        assert (await client.inspect_token(name, new.token)).held
