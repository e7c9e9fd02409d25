"""Which endpoint of etcd is talked to."""

import pytest

from lockstream_server.store.etcd.client import EtcdClient, EtcdOptions


async def test_a_failure_of_a_connection_that_was_left_moves_nobody() -> None:
    client = EtcdClient(EtcdOptions(endpoints=["127.0.0.1:1", "127.0.0.1:2"]))
    left = client.connection
    client.failed(left)
    now = client.connection
    client.failed(left)
    assert client.connection is now
    await client.close()


def test_no_endpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="endpoint"):
        EtcdClient(EtcdOptions(endpoints=[]))
