"""What scenarios run on where the defect lay in what etcd, or a server, really does."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.robustness.cluster import all_etcds
from tests.support.etcd import EtcdProcess

# A client beside a server that the scenario plays.
from tests.unit.client.conftest import opened, play, server

__all__ = ["AnEtcd", "an_etcd", "opened", "play", "server"]


@dataclass(frozen=True)
class AnEtcd:
    """A running etcd of one of the versions at hand."""

    process: EtcdProcess
    version: tuple[int, ...]


@pytest.fixture(scope="package", params=all_etcds(), ids=str)
def an_etcd(request: pytest.FixtureRequest) -> Iterator[AnEtcd]:
    """Each version in turn; a scenario leaves nothing behind but keys under a prefix of its own."""
    with EtcdProcess(program=request.param.path) as process:
        yield AnEtcd(process, request.param.version)
