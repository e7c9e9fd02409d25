"""A few seconds of traffic on one etcd: all checks are clean, and there was something to check."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.robustness.etcd_history import EtcdRecorder
from tests.robustness.history import ETCD, Believed, Disbelieved, End, Healed, Injected, Notebook, now, read_file
from tests.robustness.remains import file_descriptors, read_etcd
from tests.robustness.report import report
from tests.robustness.story import Story, read
from tests.robustness.traffic.client import Plan
from tests.robustness.traffic.fleet import Client, Fleet
from tests.robustness.validate import validate
from tests.robustness.validate.leftovers import leftovers
from tests.robustness.validate.replay import replay
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiting import eventually

TTL = 2.0

KINDS = ("library", "library", "stubs", "stubs")


@pytest.fixture
def own_etcd() -> Iterator[EtcdProcess]:
    """An etcd of the test's own, of which everything is recorded."""
    with EtcdProcess() as etcd:
        yield etcd


@pytest.fixture
def servers(own_etcd: EtcdProcess) -> Iterator[Sequence[ServerProcess]]:
    """Two lock servers on it, which may not meet anything unexpected."""
    with ExitStack() as stack:
        servers = [stack.enter_context(ServerProcess(own_etcd.endpoint)) for _ in range(2)]
        yield servers
        for server in servers:
            server.stop()
            server.assert_no_traceback()


@asynccontextmanager
async def traffic(directory: Path, etcd: EtcdProcess, servers: Sequence[ServerProcess]) -> AsyncIterator[Fleet]:
    """Traffic while the body runs. At the end all is closed in good order, and the whole history is on disk."""
    targets = [server.target for server in servers]
    plans = [
        Plan(name=f"{kind}-{number}", kind=kind, servers=targets, seed=1, ttl=TTL) for number, kind in enumerate(KINDS)
    ]
    async with AsyncExitStack() as stack:
        notebook = stack.enter_context(Notebook(directory, ETCD))
        recorder = await stack.enter_async_context(EtcdRecorder([etcd.endpoint], notebook))
        fleet = await stack.enter_async_context(Fleet(directory, plans))
        yield fleet
        await fleet.stop()
        await eventually(lambda: _nothing_left(etcd), "everything is gone", timeout=20)
        await recorder.catch_up()


async def _nothing_left(etcd: EtcdProcess) -> bool:
    return not list(leftovers(await read_etcd(etcd.endpoint)))


def assert_not_vacuous(story: Story) -> None:
    """Each check had something to look at."""
    figures, replayed = report(story, []), replay(story)
    succeeded = {kind: outcomes.get("ok", 0) for kind, outcomes in figures.operations.items()}
    for kind, least in {
        "acquire": 100,
        "release": 100,
        "acquire_all": 5,
        "open": 8,
        "upgrade": 1,
        "downgrade": 1,
    }.items():
        assert succeeded.get(kind, 0) >= least, figures.table()
    assert figures.operations["acquire"].get("failed WOULD_BLOCK", 0) > 0
    assert figures.operations["acquire"].get("failed WAIT_TIMEOUT", 0) > 0
    assert figures.operations["acquire"].get("unknown cancelled", 0) > 0
    assert {belief.mode for belief in story.beliefs} == {"exclusive", "shared", "permits"}
    assert figures.grants >= len(story.beliefs) * 0.8
    assert figures.fenced_writes > 50
    assert figures.watched_revisions > 100
    assert len({tenure.name for tenure in replayed.tenures.values()}) > 10
    contended = [tenure for tenure in replayed.tenures.values() if tenure.granted > tenure.token]
    assert len(contended) > 50
    for client in {belief.client.rpartition("-")[0] for belief in story.beliefs}:
        assert sum(belief.client.startswith(client) for belief in story.beliefs) > 20


async def until_not_vacuous(directory: Path) -> None:
    """Return once what was recorded so far has something for each check, however slow the machine is."""

    def enough() -> bool:
        try:
            assert_not_vacuous(read(directory))
        except AssertionError:
            return False
        return True

    await eventually(enough, "enough to check", timeout=60)


@pytest.mark.timeout(120)
async def test_traffic_without_faults_is_clean(
    own_etcd: EtcdProcess, servers: Sequence[ServerProcess], tmp_path: Path
) -> None:
    before = [file_descriptors(server.pid) for server in servers]
    async with traffic(tmp_path, own_etcd, servers):
        await until_not_vacuous(tmp_path)
    story = read(tmp_path)
    assert validate(story, remains=await read_etcd(own_etcd.endpoint)) == []
    assert_not_vacuous(story)
    assert {belief.end for belief in story.beliefs} <= {End.RELEASED, End.LOST}
    assert [finished.tasks for finished in story.finished.values()] == [()] * len(KINDS)
    # The ends of connections are closed a moment after their calls; one to the other processes may have been added.
    for server, open_before in zip(servers, before, strict=True):
        pid, allowed = server.pid, open_before + 5
        await eventually(lambda pid=pid, allowed=allowed: file_descriptors(pid) <= allowed, "connections are closed")


async def freeze_holding(client: Client, directory: Path) -> None:
    """Stop a client's process at a moment at which it believes in something."""
    while True:
        await client.freeze()
        path = directory / f"{client.name}.jsonl"
        records = list(read_file(path)) if path.exists() else []
        ended = {record.belief for record in records if isinstance(record, Disbelieved)}
        if any(record.belief not in ended for record in records if isinstance(record, Believed)):
            return
        await client.thaw()
        await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
async def test_clients_that_are_killed_or_frozen_and_servers_that_go_keep_it_clean(
    own_etcd: EtcdProcess, servers: Sequence[ServerProcess], tmp_path: Path
) -> None:
    async with traffic(tmp_path, own_etcd, servers) as fleet:
        with Notebook(tmp_path, "faults") as notebook:
            await asyncio.sleep(2)
            notebook.write(Injected(now(), 1, "freeze client", fleet.clients[0].name))
            for client in fleet.clients:
                await freeze_holding(client, tmp_path)
            for client in fleet.clients[1::2]:
                await client.kill()
            for client in fleet.clients:
                await client.start()
            await asyncio.sleep(TTL + 1)
            for client in fleet.clients[0::2]:
                await client.thaw()
            notebook.write(Healed(now(), 1), Injected(now(), 2, "kill server", servers[0].name))
            await asyncio.to_thread(servers[0].kill)
            servers[0].process.start()  # its readiness is not waited for: clients find another meanwhile
            await asyncio.sleep(2)
            notebook.write(Healed(now(), 2))
            await until_not_vacuous(tmp_path)
    story = read(tmp_path)
    assert validate(story, remains=await read_etcd(own_etcd.endpoint)) == []
    assert_not_vacuous(story)
    assert len(story.deaths) == 2
    assert {End.RELEASED, End.DIED, End.DEADLINE} <= {belief.end for belief in story.beliefs}
    assert len([stalls for stalls in story.stalls.values() if stalls]) >= 2
