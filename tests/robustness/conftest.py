"""The cluster that tests break."""

import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio

from tests.robustness.cluster import Cluster, Node
from tests.robustness.faults import KINDS, Scene
from tests.robustness.faults.consumers import OUTBOX_EVENTS
from tests.support.processes import ChildProcess

Inject = Callable[..., AbstractAsyncContextManager[str]]
"""What the fixture `inject` gives: called with the name of a kind, and a seed if it matters which victim is drawn."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """One cluster for all tests of a module, of the etcd that it is parametrized with or of the newest.

    Tests with it are marked for a loop of the module, for on that its links run.
    """
    etcd, server_args = getattr(request, "param", None), [f"--outbox-events={OUTBOX_EVENTS}"]
    async with Cluster(etcd=etcd, client_links=2, server_args=server_args) as cluster:
        yield cluster
        for server in cluster.servers:
            server.server.assert_no_traceback()


@pytest_asyncio.fixture(loop_scope="module")
async def healed(cluster: Cluster) -> AsyncIterator[None]:
    """Makes the cluster healthy again after the test."""
    yield
    await cluster.heal()
    await cluster.wait_until_healthy()


class Idle(Node):
    """A process in the place of a client, which does nothing."""

    clock = 0.0
    """By how many seconds its wall clock was stepped in all."""

    def step_clock(self, seconds: float) -> None:
        """As `ClientProcess`."""
        self.clock += seconds


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """The cluster, with two processes that do nothing in the place of clients."""
    directory = tmp_path_factory.mktemp("clients")
    clients = [Idle(name, ChildProcess(["sleep", "600"], log=directory / name)) for name in ("client-a", "client-b")]
    async with AsyncExitStack() as stack:
        for client in clients:
            stack.push_async_callback(client.kill)
            await client.start()
        yield Scene(cluster, clients)


@asynccontextmanager
async def drawn_until(inject: Inject, kind: str, suits: Callable[[str], bool]) -> AsyncIterator[str]:
    """The fault of this kind from the first seed with which it suits; it is asked with what the fault names."""
    for seed in itertools.count():
        async with inject(kind, seed) as victims:
            if suits(victims):
                yield victims
                return


@pytest.fixture
def inject(scene: Scene) -> Inject:
    """Makes faults of the scene."""

    def inject(kind: str, seed: int = 0) -> AbstractAsyncContextManager[str]:
        return KINDS[kind](scene, random.Random(seed))

    return inject
