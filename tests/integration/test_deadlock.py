"""Owners who wait for each other in a circle: the youngest wait is refused, and nobody else is."""

import asyncio
import random
from collections.abc import Sequence

import orjson
import pytest
from google.rpc import error_details_pb2, status_pb2

from lockstream.v1 import lock_pb2, session_pb2
from tests.integration.conftest import Join, StartServer
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.wire import Wire, acquire, acquire_all, permits, reason, release, upgrade


def cycle_in(error: status_pb2.Status) -> list[tuple[str, str, str]]:
    """Session, owner and name of each wait in turn, in the metadata of a DEADLOCK."""
    info = error_details_pb2.ErrorInfo()
    assert error.details[0].Unpack(info)
    assert info.reason == "DEADLOCK", error
    assert info.metadata["outcome_settled"] == "true"
    return [(wait["session"], wait["owner"], wait["name"]) for wait in orjson.loads(info.metadata["cycle"])]


def owned(asked: session_pb2.Acquire, owner: str) -> session_pb2.Acquire:
    """The same by another owner; empty for the session as a whole."""
    asked.owner = owner
    return asked


async def nothing_told(*wires: Wire) -> None:
    """No event came to any of them, nor is one on its way that was caused before."""
    for wire in wires:
        assert (await wire.ask(session_pb2.Heartbeat())).HasField("proof")
        assert [event for event in wire.unread if not event.HasField("position_changed")] == []


async def test_of_two_who_wait_for_each_other_the_younger_wait_is_refused(join: Join, name: str) -> None:
    """At two servers. It is told the whole cycle, from its own wait on; the other goes on when it releases."""
    a, b = f"{name}/a", f"{name}/b"
    first, second = await join(), await join()
    held = await first.hold(acquire(1, a, owner="one"))
    also = await second.hold(acquire(1, b, owner="two"))
    await first.queue(acquire(2, b, owner="one"))
    error = (await second.ask(acquire(2, a, owner="two"))).error
    assert cycle_in(error) == [
        (second.attached.session_id, "two", a),
        (first.attached.session_id, "one", b),
    ]
    await nothing_told(first, second)
    await second.ask(release(also))
    granted = (await first.told("granted")).granted
    await second.queue(acquire(3, a, owner="two"))
    await first.ask(release(granted))
    await first.ask(release(held))
    assert (await second.told("granted")).granted.acquire_id == 3


async def test_a_circle_of_three_sessions_at_three_servers(join: Join, name: str) -> None:
    """Only the one who closes it is refused; the others go on one after the other."""
    names = [f"{name}/{number}" for number in range(3)]
    wires = [await join() for _ in names]
    held = [await wire.hold(acquire(1, own, owner="worker")) for wire, own in zip(wires, names, strict=True)]
    await wires[0].queue(acquire(2, names[1], owner="worker"))
    await wires[1].queue(acquire(2, names[2], owner="worker"))
    cycle = cycle_in((await wires[2].ask(acquire(2, names[0], owner="worker"))).error)
    sessions = [wire.attached.session_id for wire in wires]
    assert cycle == [
        (sessions[2], "worker", names[0]),
        (sessions[0], "worker", names[1]),
        (sessions[1], "worker", names[2]),
    ]
    await nothing_told(*wires)
    await wires[2].ask(release(held[2]))
    await wires[1].ask(release((await wires[1].told("granted")).granted))
    await wires[1].ask(release(held[1]))
    assert (await wires[0].told("granted")).granted.acquire_id == 2


async def test_two_owners_of_one_session_can_lock_each_other_out(join: Join, name: str) -> None:
    """They are as good as strangers."""
    wire = await join()
    await wire.hold(acquire(1, f"{name}/a", owner="one"))
    await wire.hold(acquire(2, f"{name}/b", owner="two"))
    await wire.queue(acquire(3, f"{name}/b", owner="one"))
    session = wire.attached.session_id
    assert cycle_in((await wire.ask(acquire(4, f"{name}/a", owner="two"))).error) == [
        (session, "two", f"{name}/a"),
        (session, "one", f"{name}/b"),
    ]


async def test_an_upgrade_waits_for_those_who_share(join: Join, name: str) -> None:
    """Of whom one waits for the upgrader: the upgrade is refused, and its shared hold stays."""
    a, b = f"{name}/a", f"{name}/b"
    first, second = await join(), await join()
    await first.hold(acquire(1, a, mode=lock_pb2.MODE_SHARED, owner="one"))
    shared = await second.hold(acquire(1, a, mode=lock_pb2.MODE_SHARED, owner="two"))
    held = await second.hold(acquire(2, b, owner="two"))
    await first.queue(acquire(2, b, mode=lock_pb2.MODE_SHARED, owner="one"))
    error = (await second.ask(upgrade(3, shared))).error
    assert [wait[1:] for wait in cycle_in(error)] == [("two", a), ("one", b)]
    await nothing_told(first, second)
    assert (await second.ask(release(held))).HasField("released")
    assert (await first.told("granted")).granted.acquire_id == 2
    assert (await second.ask(release(shared))).HasField("released")


async def test_readers_do_not_wait_for_each_other(join: Join, name: str) -> None:
    """Each waits for what the other holds, but shares it."""
    a, b = f"{name}/a", f"{name}/b"
    first, second = await join(), await join()
    await first.hold(acquire(1, a, mode=lock_pb2.MODE_SHARED, owner="one"))
    await second.hold(acquire(1, b, mode=lock_pb2.MODE_SHARED, owner="two"))
    await first.hold(acquire(2, b, mode=lock_pb2.MODE_SHARED, owner="one"))
    await second.hold(acquire(2, a, mode=lock_pb2.MODE_SHARED, owner="two"))


async def test_several_at_once_may_close_a_circle_with_what_is_held_already(join: Join, name: str) -> None:
    """Among themselves they cannot; the whole of it is withdrawn."""
    a, b, c = (f"{name}/{letter}" for letter in "abc")
    first, second, third = [await join() for _ in range(3)]
    await first.hold(acquire(1, a, owner="one"))
    also = await second.hold(acquire(1, b, owner="two"))
    await first.queue(acquire(2, b, owner="one"))
    error = (await second.ask(acquire_all(2, c, a, owner="two"))).error
    assert [wait[1:] for wait in cycle_in(error)] == [("two", a), ("one", b)]
    await third.hold(acquire(1, c))
    await second.ask(release(also))
    assert (await first.told("granted")).granted.acquire_id == 2


async def test_who_waits_for_nothing_is_in_no_circle(join: Join, name: str) -> None:
    """However long the line behind it; it can still release."""
    a, b, c = (f"{name}/{letter}" for letter in "abc")
    first, second, third = [await join() for _ in range(3)]
    held = await first.hold(acquire(1, a, owner="one"))
    await second.hold(acquire(1, b, owner="two"))
    await third.hold(acquire(1, c, owner="three"))
    await second.queue(acquire(2, a, owner="two"))
    await third.queue(acquire(2, b, owner="three"))
    await third.queue(acquire(3, a, owner="three"))
    await nothing_told(first, second, third)
    await first.ask(release(held))
    assert (await second.told("granted")).granted.acquire_id == 2


async def test_the_session_as_a_whole_is_in_no_circle(join: Join, name: str) -> None:
    """The empty owner: others of the session may go on and release, so both wait; a release undoes it."""
    a, b = f"{name}/a", f"{name}/b"
    first, second = await join(), await join()
    await first.hold(owned(acquire(1, a), ""))
    held = await second.hold(owned(acquire(1, b), ""))
    await first.queue(owned(acquire(2, b), ""))
    await second.queue(owned(acquire(2, a), ""))
    await nothing_told(first, second)
    await second.ask(release(held))
    assert (await first.told("granted")).granted.acquire_id == 2


async def test_permits_which_another_can_give_back_close_no_circle(join: Join, name: str) -> None:
    """Once that one waits in the circle as well, nobody is left who could."""
    a, counted = f"{name}/a", f"{name}/counted"
    first, second, third = [await join() for _ in range(3)]
    await first.hold(owned(permits(1, counted, 1, 2), "one"))
    held = await third.hold(owned(permits(1, counted, 1, 2), "three"))
    await second.hold(acquire(1, a, owner="two"))
    await first.queue(acquire(2, a, owner="one"))
    await second.queue(owned(permits(2, counted, 1, 2), "two"))
    await nothing_told(first, second, third)
    error = (await third.ask(acquire(2, a, owner="three"))).error
    assert cycle_in(error)[0][1:] == ("three", a)
    await third.ask(release(held))
    assert (await second.told("granted")).granted.acquire_id == 2


async def test_owners_who_take_their_locks_in_any_order_always_get_on(join: Join, name: str) -> None:
    """Whoever is told of a deadlock lets go of everything and begins again: with that alone, all come to an end."""
    names = [f"{name}/{number}" for number in range(3)]
    rounds = 12
    deadlocks = 0

    async def work(seed: int) -> None:
        nonlocal deadlocks
        generator = random.Random(seed)
        wire = await join()
        acquire_id = 0
        done = 0
        while done < rounds:
            held = []
            for wanted in generator.sample(names, 2):
                acquire_id += 1
                reply = await wire.ask(acquire(acquire_id, wanted, owner="worker"))
                if reply.HasField("queued"):
                    held.append((await wire.told("granted")).granted)
                elif reply.HasField("granted"):
                    held.append(reply.granted)
                else:
                    assert reason(reply.error) == "DEADLOCK"
                    deadlocks += 1
                    break
            done += len(held) == 2
            for granted in held:
                await wire.ask(release(granted))

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for seed in range(5):
            tasks.create_task(work(seed))
    assert deadlocks > 0


@pytest.mark.parametrize("resumes", ["older", "younger"])
async def test_a_resume_makes_nobody_else_the_victim(
    etcd: EtcdProcess,
    three_servers: Sequence[ServerProcess],
    start_server: StartServer,
    join: Join,
    name: str,
    resumes: str,
) -> None:
    """Its server is killed at the very moment: whoever goes on at another server, the youngest wait is refused."""
    a, b = f"{name}/a", f"{name}/b"
    doomed = start_server(etcd.endpoint)
    async with Wire(doomed.target) as wire, Wire(three_servers[1].target) as again:
        other = await join(three_servers[0])
        await wire.open()
        await wire.hold(acquire(1, a, owner="one"))
        held = await other.hold(acquire(1, b, owner="two"))
        if resumes == "older":
            await wire.queue(acquire(2, b, owner="one"))
            doomed.kill()
            assert cycle_in((await other.ask(acquire(2, a, owner="two"))).error)[0][1:] == ("two", a)
            await again.resume(wire.attached)
            await nothing_told(again, other)
            await other.ask(release(held))
            assert (await again.told("granted")).granted.acquire_id == 2
        else:
            await other.queue(acquire(2, a, owner="two"))
            doomed.kill()
            granted = (await again.resume(wire.attached)).claims[0]
            assert cycle_in((await again.ask(acquire(2, b, owner="one"))).error)[0][1:] == ("one", b)
            await again.ask(session_pb2.Release(acquire_id=1, token=granted.token))
            assert (await other.told("granted")).granted.acquire_id == 2
