"""The cluster stands, and breaks where it is told to and nowhere else."""

import pytest

import lockstream
from tests.robustness.cluster import Cluster, all_etcds
from tests.robustness.remains import tasks_left
from tests.support.link import HELD
from tests.support.processes import ProcessEndedError
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("healed"),
    pytest.mark.parametrize("cluster", all_etcds(), ids=str, indirect=True, scope="module"),
]


async def test_every_link_of_clients_leads_to_the_same_locks(cluster: Cluster) -> None:
    tokens = []
    for server in cluster.servers:
        for target in server.targets:
            async with lockstream.connect(target) as client, client.session() as session, session.lock("door") as lock:
                tokens.append(lock.token)
    assert len(tokens) == len(cluster.servers) * len(cluster.clients) == 4
    assert tokens == sorted(set(tokens))


async def test_the_members_run_the_program_and_one_leads(cluster: Cluster) -> None:
    leader = await cluster.leader()
    assert leader not in await cluster.followers()
    statuses = [await member.admin.status() for member in cluster.members]
    assert {status.version for status in statuses} == {str(cluster.etcd).removeprefix("etcd ")}
    assert [status.leads for status in statuses] == [member is leader for member in cluster.members]


async def test_each_link_between_members_carries_the_two_it_is_named_by(cluster: Cluster) -> None:
    names = [member.name for member in cluster.members]
    links = {(a, b): cluster.network.link(a, b) for a in names for b in names if a != b}
    await eventually(lambda: all(link.connections for link in links.values()), "all have dialled all")
    for link in links.values():
        link.break_connections()
    assert not any(link.connections for link in links.values())
    await eventually(lambda: all(link.connections for link in links.values()), "all have dialled all again")


async def test_only_the_two_that_are_parted_lose_each_other(cluster: Cluster) -> None:
    """The leader cut off from one follower goes on leading with the other."""
    leader = await cluster.leader()
    cut_off, other = await cluster.followers()
    revision = await leader.admin.revision()
    with (
        cluster.network.impaired([leader.name], [cut_off.name], HELD),
        cluster.network.impaired([cut_off.name], [leader.name], HELD),
    ):
        assert not await cut_off.healthy()
        assert await other.healthy()
        assert await leader.admin.revision() == revision


async def test_the_next_leader_is_found_and_the_one_before_comes_back_as_a_follower(cluster: Cluster) -> None:
    before = await cluster.leader()
    await before.kill()
    assert not before.running
    after = await cluster.leader()
    assert after is not before
    await before.start()
    await cluster.wait_until_healthy()
    assert before in await cluster.followers()


async def test_steps_may_be_repeated_and_meet_any_state(cluster: Cluster) -> None:
    member, server = (await cluster.followers())[0], cluster.servers[0]
    for node in (member, server):
        pid = node.process.pid
        await node.start()
        await node.thaw()
        assert node.process.pid == pid, "what runs stays as it is"
        await node.freeze()
        await node.freeze()
        await node.kill()
        await node.kill()
        await node.freeze()
        await node.thaw()
        assert not node.running
        await node.start()
        await node.freeze()
        await node.restart()
        await node.freeze()
    assert not await member.healthy()
    assert not await server.healthy()
    await cluster.heal()
    await cluster.wait_until_healthy()


async def test_who_is_not_healthy_is_named_with_the_end_of_its_log(cluster: Cluster) -> None:
    server = cluster.servers[0]
    await server.freeze()
    with pytest.raises(TimeoutError, match=rf"{server.name}(.|\n)*serving"):
        await cluster.wait_until_healthy(timeout=0.1)
    await server.thaw()
    await server.kill()
    with pytest.raises(ProcessEndedError, match=rf"{server.name}(.|\n)*serving"):
        await cluster.wait_until_healthy()


async def test_a_server_that_is_terminated_drains_first_and_leaves_no_task(cluster: Cluster) -> None:
    server = cluster.servers[1]
    await server.terminate()
    assert (server.process.returncode, server.running) == (0, False)
    assert "draining" in server.process.log_text()
    assert tasks_left(server.server) == []
