"""Several locks at once: all or none, one place in time in every queue, one token, one loss, one release."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from urllib.parse import quote

import pytest
from google.protobuf.duration_pb2 import Duration

import lockstream
from lockstream.v1 import errors_pb2, lock_pb2, session_pb2
from tests.integration.conftest import Join, StartServer
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiting import until_free, until_queued
from tests.support.wire import NO_WAIT, Wire, acquire, acquire_all, permits, reason, release

Part = session_pb2.AcquireAll.Part


def names_of(name: str, count: int) -> list[str]:
    """So many names that no other test uses."""
    return [f"{name}/{number}" for number in range(count)]


def trying(asked: session_pb2.AcquireAll) -> session_pb2.AcquireAll:
    """The same without waiting."""
    asked.no_wait.CopyFrom(NO_WAIT)
    return asked


async def entries(client: lockstream.Client, names: Iterable[str]) -> list[tuple[lockstream.EntryView, ...]]:
    """Who holds or awaits each name."""
    return [(await client.get_lock(name, linearizable=True)).entries for name in names]


async def all_free(client: lockstream.Client, names: Iterable[str]) -> None:
    """Return once nobody holds or awaits any of the names."""
    for name in names:
        await until_free(client, name)


async def test_all_are_held_under_one_token_and_given_up_by_one_release(
    join: Join, client: lockstream.Client, name: str
) -> None:
    """As many as there may be."""
    names = names_of(name, 100)
    wire = await join()
    granted = await wire.hold(acquire_all(1, *names))
    assert {tuple(entry.token for entry in queue) for queue in await entries(client, names)} == {(granted.token,)}
    assert await wire.refused(session_pb2.Release(acquire_id=1, token=granted.token + 1)) == "STALE_TOKEN"
    assert (await wire.ask(release(granted))).HasField("released")
    assert await entries(client, names) == [()] * len(names)
    assert await wire.refused(release(granted)) == "NOT_HELD"
    assert (await wire.hold(acquire_all(2, *names))).token > granted.token


async def test_it_is_granted_when_the_last_of_its_locks_is(join: Join, client: lockstream.Client, name: str) -> None:
    """Those that were free are its own meanwhile; the place told is the one where it has to wait longest."""
    a, b, c = names_of(name, 3)
    holder, waiter, third = [await join() for _ in range(3)]
    held = [await holder.hold(acquire(1, a)), await holder.hold(acquire(2, c))]
    await holder.queue(acquire(3, c, owner="another"))
    assert (await waiter.queue(acquire_all(1, a, b, c))).position == 2
    await third.queue(acquire(1, b))
    await holder.ask(release(held[1]))
    await holder.ask(release((await holder.told("granted")).granted))
    assert not await is_held(client, a, waiter)
    assert waiter.unread == []
    await holder.ask(release(held[0]))
    granted = (await waiter.told("granted")).granted
    assert {queue[0].token for queue in await entries(client, (a, b, c))} == {granted.token}
    await waiter.ask(release(granted))
    assert (await third.told("granted")).granted.acquire_id == 1


async def is_held(client: lockstream.Client, name: str, wire: Wire) -> bool:
    """Whether the session holds the name."""
    holders = (await client.get_lock(name, linearizable=True)).holders
    return wire.attached.session_id in {entry.session_id for entry in holders}


@pytest.mark.parametrize("mode", [lock_pb2.MODE_EXCLUSIVE, lock_pb2.MODE_SHARED])
async def test_without_waiting_it_is_all_or_nothing(
    join: Join, client: lockstream.Client, name: str, mode: lock_pb2.Mode.ValueType
) -> None:
    """Whichever of the locks is taken."""
    names = names_of(name, 3)
    holder, trier = await join(), await join()
    for acquire_id, taken in enumerate(names, start=1):
        granted = await holder.hold(acquire(acquire_id, taken))
        parts = [Part(name=each, mode=mode) for each in names]
        assert await trier.refused(trying(acquire_all(acquire_id, *parts))) == "WOULD_BLOCK"
        assert [len(queue) for queue in await entries(client, names)] == [int(each == taken) for each in names]
        await holder.ask(release(granted))
    await trier.hold(trying(acquire_all(9, *[Part(name=each, mode=mode) for each in names])))
    assert trier.unread == []


async def test_modes_may_be_mixed(join: Join, client: lockstream.Client, name: str) -> None:
    """Each lock is held in the mode asked for it, beside those whom that mode admits."""
    alone, together, counted = names_of(name, 3)
    parts = [
        Part(name=alone),
        Part(name=together, mode=lock_pb2.MODE_SHARED),
        Part(name=counted, mode=lock_pb2.MODE_PERMITS, permits=2, limit=3),
    ]
    wire, other = await join(), await join()
    granted = await wire.hold(trying(acquire_all(1, *parts)))
    await other.hold(acquire(1, together, mode=lock_pb2.MODE_SHARED))
    await other.hold(permits(2, counted, 1, 3))
    await other.queue(acquire(3, alone))
    assert await other.refused(trying(acquire_all(4, *parts))) == "WOULD_BLOCK"
    assert [len(queue) for queue in await entries(client, (alone, together, counted))] == [2, 2, 2]
    await wire.ask(release(granted))
    assert (await other.told("granted")).granted.acquire_id == 3


async def test_a_limit_that_is_not_that_of_the_others_refuses_the_whole(
    join: Join, client: lockstream.Client, name: str
) -> None:
    """Also when it has to wait for another of its locks anyway."""
    taken, counted = names_of(name, 2)
    holder, wire = await join(), await join()
    held = await holder.hold(acquire(1, taken))
    await holder.hold(permits(2, counted, 1, 2))
    parts = [Part(name=taken), Part(name=counted, mode=lock_pb2.MODE_PERMITS, limit=3)]
    asked = acquire_all(1, *parts)
    (request_id,) = await wire.send(asked)
    reply = await wire.reply(request_id)
    error = reply.error if reply.HasField("error") else (await wire.told("wait_ended")).wait_ended.error
    assert reason(error) == "LIMIT_MISMATCH"
    await holder.ask(release(held))
    await until_free(client, taken)
    assert len((await entries(client, [counted]))[0]) == 1


async def test_an_owner_that_has_one_of_the_names_is_refused(join: Join, client: lockstream.Client, name: str) -> None:
    """It would wait for itself; nothing of the others is taken."""
    a, b = names_of(name, 2)
    wire = await join()
    await wire.hold(acquire(1, b, owner="worker"))
    assert await wire.refused(acquire_all(2, a, b, owner="worker")) == "ALREADY_HELD"
    assert await entries(client, [a]) == [()]
    await wire.hold(acquire_all(3, a, owner="worker"))
    assert await wire.refused(acquire(4, a, owner="worker")) == "ALREADY_HELD"


async def test_two_that_overlap_in_any_order_never_wait_for_each_other(join: Join, name: str) -> None:
    """From three servers, again and again, among acquires of single locks."""
    names = names_of(name, 5)
    holding: set[str] = set()
    generator = random.Random(5)

    async def take_turns(wanted: Sequence[Sequence[str]]) -> None:
        wire = await join()
        for turn, asked in enumerate(wanted, start=1):
            granted = await wire.have(acquire_all(turn, *asked))
            assert holding.isdisjoint(asked)
            holding.update(asked)
            await asyncio.sleep(0)
            holding.difference_update(asked)
            await wire.ask(release(granted))

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(take_turns([names] * 40))
        tasks.create_task(take_turns([names[::-1]] * 40))
        for _ in range(4):
            wanted = [generator.sample(names, generator.randint(1, len(names))) for _ in range(40)]
            tasks.create_task(take_turns(wanted))


@pytest.mark.parametrize("lost", [0, 2])
async def test_the_loss_of_one_is_one_loss_of_all(
    join: Join, client: lockstream.Client, etcd: EtcdProcess, name: str, lost: int
) -> None:
    """Deleted in etcd; the other names are freed, for those who wait."""
    names = names_of(name, 3)
    wire, waiter = await join(), await join()
    granted = await wire.hold(acquire_all(1, *names))
    await waiter.queue(acquire_all(1, *names))
    etcd.etcdctl("del", "--prefix", f"/lockstream/l/{quote(names[lost], safe='')}/{wire.attached.session_id}.")
    loss = (await wire.told("lost")).lost
    assert (loss.acquire_id, loss.token) == (1, granted.token)
    assert loss.reason == errors_pb2.LOSS_REASON_REMOVED_EXTERNALLY
    again = (await waiter.told("granted")).granted
    assert {queue[0].token for queue in await entries(client, names)} == {again.token}
    assert await wire.refused(release(granted)) == "NOT_HELD"
    assert wire.unread == []


async def test_a_waiter_that_loses_one_of_its_places_loses_all(
    join: Join, client: lockstream.Client, etcd: EtcdProcess, name: str
) -> None:
    """Deleted in etcd; it is told once, and what it held already is free."""
    taken, free = names_of(name, 2)
    holder, waiter = await join(), await join()
    await holder.hold(acquire(1, taken))
    await waiter.queue(acquire_all(1, taken, free))
    etcd.etcdctl("del", "--prefix", f"/lockstream/l/{quote(taken, safe='')}/{waiter.attached.session_id}.")
    assert reason((await waiter.told("wait_ended")).wait_ended.error) == "REMOVED_EXTERNALLY"
    await until_free(client, free)
    assert waiter.unread == []


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_one_that_is_withdrawn_leaves_nothing(join: Join, client: lockstream.Client, name: str, how: str) -> None:
    """Not even what it held already."""
    names = names_of(name, 3)
    holder, waiter, third = [await join() for _ in range(3)]
    await holder.hold(acquire(1, names[1]))
    asked = acquire_all(1, *names)
    if how == "timeout":
        asked.timeout.CopyFrom(Duration(nanos=100_000_000))
    await waiter.queue(asked)
    await third.queue(acquire(1, names[0]))
    if how == "cancel":
        assert not (await waiter.ask(session_pb2.Cancel(acquire_id=1))).cancelled.was_granted
    ended = (await waiter.told("wait_ended")).wait_ended
    assert reason(ended.error) == {"timeout": "WAIT_TIMEOUT", "cancel": "CANCELLED"}[how]
    assert (await third.told("granted")).granted.acquire_id == 1
    assert [len(queue) for queue in await entries(client, names)] == [1, 1, 0]
    assert waiter.unread == []


async def test_one_that_is_granted_can_be_cancelled(join: Join, client: lockstream.Client, name: str) -> None:
    """Everything is free then."""
    names = names_of(name, 3)
    wire = await join()
    await wire.hold(acquire_all(1, *names))
    assert (await wire.ask(session_pb2.Cancel(acquire_id=1))).cancelled.was_granted
    assert await entries(client, names) == [()] * 3


async def test_after_a_resume_it_stands_as_before_and_repeating_it_takes_nothing_twice(
    three_servers: Sequence[ServerProcess], join: Join, client: lockstream.Client, name: str
) -> None:
    """Held and waiting, at another server; another request with the same identifier is refused."""
    names, others = names_of(name, 3), names_of(f"{name}/other", 2)
    wire, holder = await join(three_servers[0], grace=None), await join()
    granted = await wire.hold(acquire_all(1, *names))
    held = await holder.hold(acquire(1, others[1]))
    await wire.queue(acquire_all(2, *others))
    await wire.cut()
    async with Wire(three_servers[1].target) as again:
        claims = {claim.acquire_id: claim for claim in (await again.resume(wire.attached)).claims}
        assert sorted(claims[1].names) == names
        assert claims[1].name == claims[1].names[0]
        assert (claims[1].state, claims[1].token) == (lock_pb2.ENTRY_STATE_HELD, granted.token)
        assert sorted(claims[2].names) == others
        assert (claims[2].state, claims[2].position) == (lock_pb2.ENTRY_STATE_WAITING, 1)
        assert (await again.hold(acquire_all(1, *names[::-1]))).token == granted.token
        assert await again.refused(acquire_all(1, *names[1:])) == "ACQUIRE_ID_REUSED"
        assert (await again.queue(acquire_all(2, *others))).position == 1
        assert [len(queue) for queue in await entries(client, [*names, *others])] == [1, 1, 1, 1, 2]
        await holder.ask(release(held))
        assert (await again.told("granted")).granted.token > granted.token
        await again.ask(release(granted))
        await all_free(client, names)


async def test_a_killed_server_loses_nothing_of_it(
    etcd: EtcdProcess, server: ServerProcess, start_server: StartServer, client: lockstream.Client, name: str
) -> None:
    """Half of it is held and half awaited; the session goes on at another server and is granted the rest there."""
    names = names_of(name, 4)
    doomed = start_server(etcd.endpoint)
    async with Wire(doomed.target) as wire, Wire(server.target) as holder, Wire(server.target) as again:
        await wire.open()
        await holder.open()
        held = await holder.hold(acquire_all(1, *names[:2]))
        await wire.queue(acquire_all(1, *names))
        doomed.kill()
        [claim] = (await again.resume(wire.attached)).claims
        assert sorted(claim.names) == names
        await until_queued(client, names[0], 1)
        await holder.ask(release(held))
        granted = (await again.told("granted")).granted
        assert {queue[0].token for queue in await entries(client, names)} == {granted.token}
        await again.ask(release(granted))
        assert await entries(client, names) == [()] * 4


async def test_what_was_lost_of_it_while_its_server_was_gone_is_the_loss_of_all(
    etcd: EtcdProcess, server: ServerProcess, start_server: StartServer, client: lockstream.Client, name: str
) -> None:
    """Deleted in etcd with nobody there to see it: the session that goes on does not have it any more."""
    names = names_of(name, 3)
    doomed = start_server(etcd.endpoint)
    async with Wire(doomed.target) as wire, Wire(server.target) as again:
        await wire.open()
        await wire.hold(acquire_all(1, *names))
        doomed.kill()
        etcd.etcdctl("del", "--prefix", f"/lockstream/l/{quote(names[1], safe='')}/{wire.attached.session_id}.")
        assert list((await again.resume(wire.attached)).claims) == []
        await all_free(client, names)
