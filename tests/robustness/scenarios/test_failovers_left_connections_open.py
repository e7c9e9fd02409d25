"""Each failover between members of etcd left connections open until Python's garbage collector came by.

Whenever a request to one member of etcd failed, the server opened a channel to the next and closed the one that it
left, as soon as what was under way on it had ended. While members came and went that was often; the channels closed
late, or only when they were collected, and a run ended with file descriptors left over.

It broke the promise that nothing is left behind, and would have run a server out of file descriptors in a long outage.
Since then there is one channel for each member, for good.
"""

import asyncio

import pytest

from lockstream_server.store.etcd.client import Connection, EtcdClient, EtcdOptions
from tests.robustness.scenarios.as_it_was import as_it_was

ENDPOINTS = [f"127.0.0.1:{port}" for port in (1, 2, 3)]


async def test_failures_go_round_the_members_over_the_same_connections() -> None:
    client = EtcdClient(EtcdOptions(endpoints=ENDPOINTS))
    used: list[Connection] = []
    try:
        for _ in range(7):
            used.append(client.connection)
            client.failed(client.connection)
        assert [connection.endpoint for connection in used] == [*ENDPOINTS, *ENDPOINTS, ENDPOINTS[0]]
        opened = {id(connection.channel) for connection in used}
        assert len(opened) == len(ENDPOINTS), f"{len(opened)} channels to {len(ENDPOINTS)} members"
    finally:
        await client.close()
        await asyncio.gather(*(connection.channel.close() for connection in [*used, client.connection]))


async def test_as_it_was() -> None:
    with as_it_was(each_failover_opened_a_channel, "7 channels to 3 members"):
        await test_failures_go_round_the_members_over_the_same_connections()


def each_failover_opened_a_channel(patch: pytest.MonkeyPatch) -> None:
    def failed(self: EtcdClient, connection: Connection) -> None:
        following = ENDPOINTS.index(connection.endpoint) + 1
        self.connection = Connection(ENDPOINTS[following % len(ENDPOINTS)], self._credentials())

    patch.setattr(EtcdClient, "failed", failed)
