"""The server that is fuzzed."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.fuzzing.site import Site
from tests.support.etcd import EtcdProcess


@pytest.fixture(scope="session")
def site(etcd: EtcdProcess) -> Iterator[Site]:
    """One server, which lives through everything that the tests send to it."""
    with ExitStack() as stack:
        yield Site(etcd, stack)
