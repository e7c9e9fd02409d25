"""Which endpoint of etcd is talked to."""

import pytest

from lockstream_server.store.etcd.client import EtcdClient, EtcdOptions


async def test_failures_go_round_the_endpoints_over_the_same_connections() -> None:
    """However often they fail: what was opened at each failure would have to be closed again."""
    endpoints = [f"127.0.0.1:{port}" for port in (1, 2, 3)]
    client = EtcdClient(EtcdOptions(endpoints=endpoints))
    used = []
    for _ in range(7):
        used.append(client.connection)
        client.failed(client.connection)
    assert [connection.endpoint for connection in used] == [*endpoints, *endpoints, endpoints[0]]
    assert len(set(map(id, used))) == 3
    await client.close()


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
