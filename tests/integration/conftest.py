"""The servers that integration tests run against.

Tests that leave their servers as they found them share `server`, `two_servers` and `three_servers`, all
on one etcd, and keep apart by the lock `name` that each gets. Tests that kill, freeze or reconfigure
something ask for `own_etcd`, `own_server` or `start_server`.

No server may log a traceback, whatever a test does to it: that is checked when the server is stopped.
"""

import gc
import itertools
import os
import secrets
import subprocess
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import lockstream
import lockstream.sync
from lockstream.v1 import service_pb2_grpc
from tests.support.calls import Stubs
from tests.support.cli import PROGRAM, Cli, Start
from tests.support.etcd import EtcdProcess
from tests.support.processes import ChildProcess
from tests.support.server import ServerProcess
from tests.support.wire import Wire

Join = Callable[..., Awaitable[Wire]]
"""What the fixture `join` gives: called with a server if it matters which, and the arguments of `Wire.open`."""

StartServer = Callable[..., ServerProcess]
"""What the fixture `start_server` gives: called with the arguments of `ServerProcess`."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collect no garbage while a failure is reported.

    The report parses source code. A task that failed unseen is logged when it is collected, which parses source code
    as well; one parse inside another is a SystemError in Python 3.11, and would end the whole run.
    """
    if call.excinfo is None:
        return (yield)
    gc.collect()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@contextmanager
def _running(server: ServerProcess) -> Iterator[ServerProcess]:
    with server:
        yield server
        server.stop()
        server.assert_no_traceback()


@pytest.fixture(scope="session")
def three_servers(etcd: EtcdProcess) -> Iterator[Sequence[ServerProcess]]:
    """Three servers on one etcd, for tests that leave them running."""
    with ExitStack() as stack:
        yield [stack.enter_context(_running(ServerProcess(etcd.endpoint))) for _ in range(3)]


@pytest.fixture(scope="session")
def two_servers(three_servers: Sequence[ServerProcess]) -> Sequence[ServerProcess]:
    """Two of the three."""
    return three_servers[:2]


@pytest.fixture(scope="session")
def server(three_servers: Sequence[ServerProcess]) -> ServerProcess:
    """One of the three."""
    return three_servers[0]


@pytest.fixture
def own_etcd() -> Iterator[EtcdProcess]:
    """An etcd of the test's own, to freeze, kill or restart."""
    with EtcdProcess() as etcd:
        yield etcd


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers of the test's own: `start_server(etcd.endpoint, extra_args=["--outbox-events=16"])`."""
    with ExitStack() as stack:

        def start(etcd: str | Sequence[str], *, extra_args: Sequence[str] = ()) -> ServerProcess:
            return stack.enter_context(_running(ServerProcess(etcd, extra_args=extra_args)))

        yield start


@pytest.fixture
def own_server(own_etcd: EtcdProcess, start_server: StartServer) -> ServerProcess:
    """A server of the test's own, on `own_etcd`."""
    return start_server(own_etcd.endpoint)


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[lockstream.Client]:
    """A client of `server`."""
    async with lockstream.connect(server.target) as client:
        yield client


@pytest.fixture
async def three_clients(three_servers: Sequence[ServerProcess]) -> AsyncIterator[Sequence[lockstream.Client]]:
    """A client of each of `three_servers`."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(lockstream.connect(server.target)) for server in three_servers]


@pytest.fixture
async def join(three_servers: Sequence[ServerProcess]) -> AsyncIterator[Join]:
    """Opens sessions, each on a stream of its own, at the three servers in turn."""
    async with AsyncExitStack() as stack:
        turns = itertools.cycle(three_servers)

        async def join(server: ServerProcess | None = None, *, ttl: int = 10, grace: int | None = 0) -> Wire:
            wire = await stack.enter_async_context(Wire((server or next(turns)).target))
            await wire.open(ttl=ttl, grace=grace)
            return wire

        yield join


@pytest.fixture
async def stubs(server: ServerProcess) -> AsyncIterator[Stubs]:
    """Stubs for calls to `server`."""
    async with Stubs(server.target) as stubs:
        yield stubs


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A lock name that no other test uses."""
    return f"{request.node.originalname}/{secrets.token_hex(4)}"


@pytest.fixture
def lock_key(name: str) -> str:
    """Where etcd keeps the entries of the lock `name`, without the last slash."""
    return f"/lockstream/l/{urllib.parse.quote(name, safe='')}"


@pytest.fixture(scope="module")
def grpc_addr(server: ServerProcess) -> str:
    """Where pytest-grpc's channel leads: to a real server."""
    return server.target


@pytest.fixture(scope="module")
def grpc_server(server: ServerProcess) -> ServerProcess:
    """In place of the server that pytest-grpc would run in this process."""
    return server


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[service_pb2_grpc.LockServiceStub]:
    """What pytest-grpc makes `grpc_stub` of."""
    return service_pb2_grpc.LockServiceStub


@pytest.fixture
def sync_client(server: ServerProcess) -> Iterator[lockstream.sync.Client]:
    """A blocking client, which brings about what there is to read."""
    with lockstream.sync.connect(server.target) as client:
        yield client


@pytest.fixture
def sync_session(sync_client: lockstream.sync.Client) -> Iterator[lockstream.sync.Session]:
    """A session of it."""
    with sync_client.session(ttl=30, grace=5, name="reader-test", metadata={"zone": "a"}) as session:
        yield session


@pytest.fixture
def in_background() -> Iterator[Callable[..., Future[Any]]]:
    """Calls a function on a thread, for acquires that wait."""
    with ThreadPoolExecutor() as executor:
        yield executor.submit


@pytest.fixture
def environment(server: ServerProcess) -> dict[str, str]:
    """The environment of a shell whose user has said where the servers are."""
    return {**os.environ, "LOCKSTREAM_SERVERS": server.target}


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    """Runs `lockstream` to its end."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    return run


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts `lockstream` and lets it run: its output and its errors are files."""
    with ExitStack() as stack:

        def start(*arguments: str) -> ChildProcess:
            number = len(list(tmp_path.glob("*.log")))
            return stack.enter_context(
                ChildProcess(
                    [PROGRAM, *arguments],
                    log=tmp_path / f"{number}.log",
                    output=tmp_path / f"{number}.out",
                    env=environment,
                )
            )

        yield start


@pytest.fixture
def looker(server: ServerProcess) -> Iterator[lockstream.sync.Client]:
    """A client to look with."""
    with lockstream.sync.connect(server.target) as client:
        yield client
