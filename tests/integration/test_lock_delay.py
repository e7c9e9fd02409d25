"""A name stays taken for a while after its holder was lost, so that what the holder left under way can end."""

import asyncio
from collections.abc import Sequence

import pytest

import lockstream
from lockstream.v1 import admin_pb2, lock_pb2, service_pb2, session_pb2
from tests.integration.conftest import Join, StartServer
from tests.support.calls import Stubs
from tests.support.etcd import EtcdProcess
from tests.support.server import ServerProcess
from tests.support.waiters import SLACK_SECONDS, Stopwatch
from tests.support.waiting import eventually, until_free
from tests.support.wire import Wire, acquire, release, try_acquire

DELAY = 1
TTL = 2
RENEWAL = TTL / 2
"""Seconds within which a busy server renews a lease, so that what is proven is at least the rest of the TTL."""
EARLY = 0.05
"""A watch of ours may start this much after the moment which the server counts from."""


def delayed(acquire_id: int, name: str, seconds: int = DELAY) -> session_pb2.Acquire:
    """An acquire with a lock delay, which waits for ever."""
    asked = acquire(acquire_id, name)
    asked.lock_delay.FromSeconds(seconds)
    return asked


async def lose(wire: Wire, etcd: EtcdProcess, how: str) -> None:
    """Bring about that the session is lost."""
    if how == "killed":
        await wire.cut()
    else:
        await asyncio.to_thread(etcd.etcdctl, "lease", "revoke", wire.attached.session_id)


@pytest.mark.parametrize("how", ["killed", "revoked"])
async def test_the_name_stays_taken_after_the_session_is_lost(
    join: Join, stubs: Stubs, etcd: EtcdProcess, name: str, how: str
) -> None:
    """For the delay and about no longer, and readers of the lock see what it is.

    A lease that ends by itself may have ended before its time, so then the hold stands until nobody can believe in it.
    """
    lost, waiter = await join(ttl=TTL, grace=0), await join()
    granted = await lost.hold(delayed(1, name))
    [entry] = await stubs.entries(name)
    assert (entry.token, entry.state) == (granted.token, lock_pb2.ENTRY_STATE_HELD)
    assert entry.lock_delay.ToTimedelta().total_seconds() == DELAY
    await waiter.queue(acquire(1, name))
    watch = Stopwatch()
    await lose(lost, etcd, how)

    async def taken_by_nobody() -> bool:
        states = [entry.state for entry in await stubs.entries(name)]
        return states == [lock_pb2.ENTRY_STATE_DELAY, lock_pb2.ENTRY_STATE_WAITING]

    await eventually(taken_by_nobody, "the delay begins")
    assert not (await stubs.locks.CheckToken(service_pb2.CheckTokenRequest(name=name, token=granted.token))).held
    await waiter.told("granted")
    least, most = (TTL - RENEWAL, TTL) if how == "revoked" else (0, 0)
    assert least + DELAY - EARLY <= watch.seconds <= most + DELAY + SLACK_SECONDS


async def test_a_release_frees_the_name_at_once(join: Join, client: lockstream.Client, name: str) -> None:
    """So does a cancel, again and again, with nothing left of any delay."""
    wire, other = await join(), await join()
    watch = Stopwatch()
    for acquire_id in (1, 2, 3):
        granted = await wire.hold(delayed(acquire_id, name, 600))
        await other.queue(acquire(acquire_id, name))
        if acquire_id == 3:
            assert (await wire.ask(session_pb2.Cancel(acquire_id=3))).cancelled.was_granted
        else:
            assert (await wire.ask(release(granted))).HasField("released")
        await other.ask(release((await other.told("granted")).granted))
        await until_free(client, name)
    assert watch.seconds < DELAY + SLACK_SECONDS


async def test_closing_the_session_frees_the_name_at_once(join: Join, client: lockstream.Client, name: str) -> None:
    """Who says goodbye has nothing under way: when the reply comes everything is free."""
    wire = await join()
    await wire.hold(delayed(1, name, 600))
    assert (await wire.ask(session_pb2.Close())).HasField("closed")
    assert (await client.get_lock(name, linearizable=True)).entries == ()


async def test_a_waiter_that_is_lost_delays_nothing(join: Join, name: str) -> None:
    """Only a holder has anything under way."""
    holder, lost, waiter = await join(), await join(grace=0), await join()
    held = await holder.hold(acquire(1, name))
    await lost.queue(delayed(1, name, 600))
    await waiter.queue(acquire(1, name))
    await lost.cut()
    assert (await waiter.event()).position_changed.position == 1
    await holder.ask(release(held))
    await waiter.told("granted")


async def test_one_that_had_to_wait_has_its_delay_as_well(join: Join, name: str) -> None:
    """From its grant on."""
    first, lost, waiter = await join(), await join(grace=0), await join()
    held = await first.hold(acquire(1, name))
    await lost.queue(delayed(1, name))
    await waiter.queue(acquire(1, name))
    await first.ask(release(held))
    await lost.told("granted")
    watch = Stopwatch()
    await lost.cut()
    await waiter.told("granted")
    assert DELAY - EARLY <= watch.seconds <= DELAY + SLACK_SECONDS


async def test_one_that_is_deleted_in_etcd_delays_nothing(
    join: Join, etcd: EtcdProcess, lock_key: str, name: str
) -> None:
    """Its session lives, and is told of the loss."""
    holder, waiter = await join(), await join()
    await holder.hold(delayed(1, name, 600))
    await waiter.queue(acquire(1, name))
    etcd.etcdctl("del", f"{lock_key}/{holder.attached.session_id}.0")
    assert (await holder.told("lost")).lost.acquire_id == 1
    await waiter.told("granted")


async def test_the_delay_goes_with_the_session_over_a_resume(
    three_servers: Sequence[ServerProcess], join: Join, name: str
) -> None:
    """The release at another server frees the name at once."""
    wire, waiter = await join(three_servers[0], ttl=TTL, grace=None), await join()
    granted = await wire.hold(delayed(1, name, 600))
    await waiter.queue(acquire(1, name))
    await wire.cut()
    async with Wire(three_servers[1].target) as again:
        [claim] = (await again.resume(wire.attached)).claims
        assert (claim.state, claim.token) == (lock_pb2.ENTRY_STATE_HELD, granted.token)
        assert (await again.ask(release(granted))).HasField("released")
        await waiter.told("granted")


async def test_a_resumed_session_that_is_lost_then_is_delayed_too(
    three_servers: Sequence[ServerProcess], join: Join, etcd: EtcdProcess, name: str
) -> None:
    """Though it was granted at another server."""
    wire, waiter = await join(three_servers[0], ttl=TTL, grace=None), await join()
    await wire.hold(delayed(1, name))
    await waiter.queue(acquire(1, name))
    await wire.cut()
    async with Wire(three_servers[1].target) as again:
        await again.resume(wire.attached)
        watch = Stopwatch()
        await lose(again, etcd, "revoked")
        await waiter.told("granted")
        assert TTL - RENEWAL + DELAY - EARLY <= watch.seconds <= TTL + DELAY + SLACK_SECONDS


async def test_a_session_that_is_ended_by_an_operator_leaves_its_delays(join: Join, stubs: Stubs, name: str) -> None:
    """Everything else is free at once, and the operator waits for no more than that."""
    lost, waiter = await join(), await join()
    await lost.hold(delayed(1, f"{name}/delayed"))
    await lost.hold(acquire(2, f"{name}/plain"))
    watch = Stopwatch()
    asked = admin_pb2.EndSessionRequest(session_id=lost.attached.session_id, reason="it hangs", actor="ada")
    await stubs.admin.EndSession(asked)
    await waiter.hold(try_acquire(1, f"{name}/plain"))
    await waiter.queue(acquire(2, f"{name}/delayed"))
    assert (await waiter.told("granted")).granted.acquire_id == 2
    assert DELAY - EARLY <= watch.seconds <= DELAY + SLACK_SECONDS


async def test_delays_stand_while_every_server_is_restarted(
    own_etcd: EtcdProcess, own_server: ServerProcess, name: str
) -> None:
    """Each as long as was asked, and by a TTL longer: nobody knows how long the session has been over."""
    short, long = 1, 600
    async with Wire(own_server.target) as lost:
        await lost.open(ttl=TTL, grace=0)
        await lost.hold(delayed(1, f"{name}/short", short))
        await lost.hold(delayed(2, f"{name}/long", long))
        own_server.kill()
        own_etcd.etcdctl("lease", "revoke", lost.attached.session_id)
    watch = Stopwatch()
    own_server.start()
    started = watch.seconds
    async with Wire(own_server.target) as waiter, Stubs(own_server.target) as stubs:
        await waiter.open()
        assert await waiter.refused(try_acquire(1, f"{name}/long")) == "WOULD_BLOCK"
        await waiter.have(acquire(2, f"{name}/short"))
        assert TTL + short - EARLY <= watch.seconds <= started + TTL + short + SLACK_SECONDS
        assert [entry.state for entry in await stubs.entries(f"{name}/long")] == [lock_pb2.ENTRY_STATE_DELAY]


async def test_breaking_the_lock_ends_its_delay(join: Join, stubs: Stubs, name: str) -> None:
    """Whether it is still held or only delayed."""
    holder, waiter = await join(grace=0), await join()
    granted = await holder.hold(delayed(1, name, 600))
    await waiter.queue(acquire(1, name))
    await stubs.force_release(name, token=granted.token)
    assert (await holder.told("lost")).lost.acquire_id == 1
    again = (await waiter.told("granted")).granted
    await holder.queue(delayed(2, name, 600))
    await waiter.ask(release(again))
    await holder.told("granted")
    await waiter.queue(acquire(2, name))
    await holder.cut()

    async def nobody_holds() -> bool:
        return (await stubs.entries(name))[0].state == lock_pb2.ENTRY_STATE_DELAY

    await eventually(nobody_holds, "the delay begins")
    await stubs.force_release(name)
    await waiter.told("granted")


async def test_a_first_acquire_with_a_delay_is_granted_however_fresh_the_session(
    own_etcd: EtcdProcess, start_server: StartServer, name: str
) -> None:
    """Asked in one go with the opening, many times."""
    server = start_server(own_etcd.endpoint)
    for number in range(20):
        async with Wire(server.target) as wire:
            await wire.open(grace=0)
            await wire.hold(delayed(1, f"{name}/{number}"))
