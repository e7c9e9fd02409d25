"""Which endpoint of etcd is talked to."""

import pytest

from lockstream_server.store.etcd.client import EtcdClient, EtcdOptions, harms


async def test_a_failure_of_a_connection_that_was_left_moves_nobody() -> None:
    client = EtcdClient(EtcdOptions(endpoints=["127.0.0.1:1", "127.0.0.1:2"]))
    left = client.connection
    client.failed(left)
    now = client.connection
    client.failed(left)
    assert client.connection is now
    await client.close()


@pytest.mark.parametrize(
    ("release", "number"),
    [("3.4.30", 1), ("3.5.0", 2), ("3.5.2", 2), ("3.5.3", 1), ("3.5.12", 1), ("3.5.13", 0), ("3.6.0-rc.1", 0)],
)
def test_releases_of_etcd_with_known_faults_are_warned_of(release: str, number: int) -> None:
    assert len(harms(release)) == number


def test_no_endpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="endpoint"):
        EtcdClient(EtcdOptions(endpoints=[]))
