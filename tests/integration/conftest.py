"""The servers that integration tests run against.

Tests that leave their servers as they found them share `server`, `two_servers` and `three_servers`, all
on one etcd, and keep apart by the lock `name` that each gets. Tests that kill, freeze or reconfigure
something ask for `own_etcd`, `own_server` or `start_server`.

No server may log a traceback, whatever a test does to it: that is checked when the server is stopped.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

import lockstream
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess

StartServer = Callable[..., ServerProcess]
"""What the fixture `start_server` gives: called with the arguments of `ServerProcess`."""


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
def name(request: pytest.FixtureRequest) -> str:
    """A lock name that no other test uses."""
    return f"{request.node.originalname}/{secrets.token_hex(4)}"
