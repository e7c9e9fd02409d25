"""What all tests share: the etcd they run against and how long Hypothesis may search."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support.etcd import EtcdProcess

# The same cases at every run, so that a red test is red for everybody and a green one stays green.
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# For a long search by hand: HYPOTHESIS_PROFILE=deep make test PYTEST_ARGS="tests/property --timeout 3600"
settings.register_profile(
    "deep",
    deadline=None,
    max_examples=5_000,
    stateful_step_count=80,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdProcess]:
    """One etcd for all tests that leave it running and unchanged but for keys under a prefix of their own."""
    with EtcdProcess() as etcd:
        yield etcd
