"""The loss of one member of etcd, a follower or the leader, costs no lock and no place in a queue."""

import time

import pytest

from tests.robustness.cluster import Cluster, all_etcds
from tests.robustness.standing import standing
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("healed"),
    pytest.mark.parametrize("cluster", all_etcds(), ids=str, indirect=True, scope="module"),
]

TTL = 10.0
"""The default. Until another member leads and is found, a proof of which a third is used up must last, and then until
the next heartbeat, another third of a TTL."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("role", ["follower", "leader"])
async def test_what_stands_outlives_a_member_that_stays_away(cluster: Cluster, role: str) -> None:
    """Not by being quick: every lease is renewed without the member, and would be over otherwise."""
    targets = [server.targets[0] for server in cluster.servers]
    async with standing(targets, TTL) as there:
        leader = await cluster.leader()
        victim = leader if role == "leader" else (await cluster.followers())[0]
        await victim.kill()
        killed = time.monotonic()
        assert (await cluster.leader() is leader) is (role == "follower")
        # A new leader begins every TTL anew, a second or two after the end of the one before.
        away = 1.5 * TTL
        await eventually(
            lambda: time.monotonic() > killed + away and there.proven_since(killed + TTL),
            "every lease would be over by now, and was renewed",
            timeout=2 * away,
        )
        await there.assert_nothing_lost()
        await there.assert_order_kept()
        assert not victim.running
