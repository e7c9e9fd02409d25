"""The record of etcd's own history has no gap, or there is none."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.robustness.etcd_history import EtcdRecorder, HistoryLostError
from tests.robustness.history import Changed, HistoryBegan, Notebook, Record, read_directory
from tests.robustness.validate.replay import gaps
from tests.support.etcd import EtcdProcess
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

PREFIX = "/recorded/"


@pytest.fixture
def own_etcd() -> Iterator[EtcdProcess]:
    """An etcd of the test's own."""
    with EtcdProcess() as etcd:
        yield etcd


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    """Where the history goes."""
    with Notebook(tmp_path, "etcd") as notebook:
        yield notebook


def recorded(directory: Path) -> Sequence[Record]:
    """What is on disk, but for what the recorder itself wrote to etcd."""
    [records] = read_directory(directory).values()
    return [each for each in records if not (isinstance(each, Changed) and each.key.startswith(f"{PREFIX}mark/"))]


def changes(directory: Path) -> list[tuple[str, str | None, int]]:
    """Key, value and version of what is recorded."""
    return [(each.key, each.value, each.version) for each in recorded(directory) if isinstance(each, Changed)]


async def put(etcd: EtcdProcess, key: str, value: str) -> None:
    """Write a key without holding the event loop up."""
    await asyncio.to_thread(etcd.etcdctl, "put", key, value)


async def test_writes_and_deletions_are_recorded_in_order(
    own_etcd: EtcdProcess, notebook: Notebook, tmp_path: Path
) -> None:
    await put(own_etcd, "/another/prefix", "no")
    async with EtcdRecorder([own_etcd.endpoint], notebook, PREFIX) as recorder:
        await put(own_etcd, "/recorded/a", "1")
        await put(own_etcd, "/recorded/a", "2")
        await put(own_etcd, "/another/prefix", "no")
        await asyncio.to_thread(own_etcd.etcdctl, "del", "/recorded/a")
        await recorder.catch_up()
    assert changes(tmp_path) == [("/recorded/a", "1", 1), ("/recorded/a", "2", 2), ("/recorded/a", None, 0)]
    began = recorded(tmp_path)[0]
    assert isinstance(began, HistoryBegan)
    first, second, third = [record for record in recorded(tmp_path) if isinstance(record, Changed)]
    assert began.revision < first.revision < second.revision < third.revision
    assert (first.create_revision, second.create_revision) == (first.revision, first.revision)


async def test_a_prefix_that_is_in_use_is_refused(own_etcd: EtcdProcess, notebook: Notebook) -> None:
    await put(own_etcd, "/recorded/a", "1")
    recorder = EtcdRecorder([own_etcd.endpoint], notebook, PREFIX)
    with pytest.raises(ValueError, match="1 keys"):
        await recorder.__aenter__()


async def test_broken_connections_and_restarts_leave_no_gap(
    own_etcd: EtcdProcess, notebook: Notebook, tmp_path: Path
) -> None:
    async with (
        Proxy(int(own_etcd.endpoint.rpartition(":")[2])) as proxy,
        EtcdRecorder([proxy.target], notebook, PREFIX) as recorder,
    ):
        for number in range(5):
            await put(own_etcd, "/recorded/a", str(number))
            await proxy.cut(refuse=True)
            await put(own_etcd, "/recorded/a", f"unseen {number}")
            if number == 2:
                await asyncio.to_thread(own_etcd.restart)
            proxy.heal()
        await recorder.catch_up()
    expected = [text for number in range(5) for text in (str(number), f"unseen {number}")]
    assert [value for _, value, _ in changes(tmp_path)] == expected
    assert list(gaps([each for each in recorded(tmp_path) if isinstance(each, Changed)])) == []


async def test_what_was_read_may_be_compacted(own_etcd: EtcdProcess, notebook: Notebook, tmp_path: Path) -> None:
    async with (
        Proxy(int(own_etcd.endpoint.rpartition(":")[2])) as proxy,
        EtcdRecorder([proxy.target], notebook, PREFIX) as recorder,
    ):
        for number in range(3):
            await put(own_etcd, "/recorded/a", str(number))
        await recorder.catch_up()
        await asyncio.to_thread(own_etcd.etcdctl, "compact", str(recorder.revision))
        await proxy.cut()
        await put(own_etcd, "/recorded/a", "3")
        await recorder.catch_up()
    assert [value for _, value, _ in changes(tmp_path)] == ["0", "1", "2", "3"]


async def test_what_was_compacted_unread_is_an_error_and_no_gap(own_etcd: EtcdProcess, notebook: Notebook) -> None:
    async with (
        Proxy(int(own_etcd.endpoint.rpartition(":")[2])) as proxy,
        EtcdRecorder([proxy.target], notebook, PREFIX) as recorder,
    ):
        await recorder.catch_up()
        await proxy.cut(refuse=True)
        for number in range(3):
            await put(own_etcd, "/recorded/a", str(number))
        await asyncio.to_thread(own_etcd.etcdctl, "compact", str(recorder.revision + 3))
        proxy.heal()
        await eventually(lambda: recorder.failed, "the record has ended", timeout=20)
        with pytest.raises(HistoryLostError):
            await recorder.catch_up()
