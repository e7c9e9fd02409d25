"""From shared to exclusive and back, without letting go in between."""

from collections.abc import Sequence

import pytest
from google.protobuf.duration_pb2 import Duration

import lockstream
from lockstream.v1 import lock_pb2, session_pb2
from tests.integration.conftest import Join
from tests.support.server import ServerProcess
from tests.support.waiting import until_free
from tests.support.wire import NO_WAIT, Wire, acquire, reason, release, upgrade

SHARED = lock_pb2.MODE_SHARED
UPGRADE = lock_pb2.MODE_UPGRADE


def reading(acquire_id: int, name: str) -> session_pb2.Acquire:
    """A shared acquire that waits for ever."""
    return acquire(acquire_id, name, mode=SHARED)


def downgrade(granted: session_pb2.Granted) -> session_pb2.Downgrade:
    """The downgrade that fits a grant."""
    return session_pb2.Downgrade(acquire_id=granted.acquire_id, token=granted.token)


async def tokens_held(client: lockstream.Client, name: str) -> list[int]:
    """The tokens that hold, in the order of the queue."""
    return [entry.token for entry in (await client.get_lock(name, linearizable=True)).holders]


async def test_a_reader_alone_becomes_a_writer_at_once(join: Join, client: lockstream.Client, name: str) -> None:
    """Under a token that is newer than all before; the shared hold stays beneath it, and is released last."""
    wire, other = await join(), await join()
    shared = await wire.hold(reading(1, name))
    exclusive = await wire.hold(upgrade(2, shared))
    assert exclusive.token > shared.token
    assert await tokens_held(client, name) == [shared.token, exclusive.token]
    await other.queue(reading(1, name))
    assert (await wire.ask(release(exclusive))).HasField("released")
    beside = (await other.told("granted")).granted
    assert await tokens_held(client, name) == [shared.token, beside.token]
    assert (await wire.ask(release(shared))).HasField("released")
    await other.ask(release(beside))
    await until_free(client, name)


async def test_it_waits_for_all_other_readers(join: Join, client: lockstream.Client, name: str) -> None:
    """Its own shared hold is valid meanwhile; readers that come later wait behind it."""
    wire, first, second, late = [await join() for _ in range(4)]
    others = [(reader, await reader.hold(reading(1, name))) for reader in (first, second)]
    shared = await wire.hold(reading(1, name))
    assert (await wire.queue(upgrade(2, shared))).position == 1
    assert (await late.queue(reading(1, name))).position == 2
    for reader, granted in others:
        assert shared.token in await tokens_held(client, name)
        assert wire.unread == []
        await reader.ask(release(granted))
    exclusive = (await wire.told("granted")).granted
    assert (exclusive.acquire_id, exclusive.token > shared.token) == (2, True)
    assert await tokens_held(client, name) == [shared.token, exclusive.token]
    await wire.ask(release(exclusive))
    assert (await late.told("granted")).granted.token > exclusive.token


async def test_the_second_upgrade_is_refused_at_once(join: Join, client: lockstream.Client, name: str) -> None:
    """Each would wait for the other's shared hold. The one refused keeps its own; the first goes on when that goes."""
    first, second = await join(), await join()
    shared = await first.hold(reading(1, name))
    also = await second.hold(reading(1, name))
    await first.queue(upgrade(2, shared))
    assert await second.refused(upgrade(2, also)) == "UPGRADE_CONFLICT"
    assert await tokens_held(client, name) == [shared.token, also.token]
    await second.ask(release(also))
    assert (await first.told("granted")).granted.acquire_id == 2


@pytest.mark.parametrize("waits", [True, False])
async def test_a_waiting_writer_refuses_it(join: Join, client: lockstream.Client, name: str, waits: bool) -> None:
    """That one came first, and waits for the shared hold; whether the upgrade would wait or not."""
    wire, writer = await join(), await join()
    shared = await wire.hold(reading(1, name))
    await writer.queue(acquire(1, name))
    asked = upgrade(2, shared)
    if not waits:
        asked.no_wait.CopyFrom(NO_WAIT)
    assert await wire.refused(asked) == "UPGRADE_CONFLICT"
    assert await tokens_held(client, name) == [shared.token]
    await wire.ask(release(shared))
    assert (await writer.told("granted")).granted.acquire_id == 1


@pytest.mark.parametrize("how", ["timeout", "cancel", "no_wait"])
async def test_one_that_does_not_wait_any_more_leaves_the_shared_hold(
    join: Join, client: lockstream.Client, name: str, how: str
) -> None:
    """And lets the readers in that waited behind it."""
    wire, other, late = [await join() for _ in range(3)]
    shared = await wire.hold(reading(1, name))
    also = await other.hold(reading(1, name))
    asked = upgrade(2, shared)
    if how == "no_wait":
        asked.no_wait.CopyFrom(NO_WAIT)
        assert await wire.refused(asked) == "WOULD_BLOCK"
        await late.have(reading(1, name))
    else:
        if how == "timeout":
            asked.timeout.CopyFrom(Duration(nanos=200_000_000))
        await wire.queue(asked)
        await late.queue(reading(1, name))
        if how == "cancel":
            assert not (await wire.ask(session_pb2.Cancel(acquire_id=2))).cancelled.was_granted
        error = (await wire.told("wait_ended")).wait_ended.error
        assert reason(error) == {"timeout": "WAIT_TIMEOUT", "cancel": "CANCELLED"}[how]
        await late.told("granted")
    assert (await tokens_held(client, name))[:2] == [shared.token, also.token]
    assert (await wire.ask(release(shared))).HasField("released")


async def test_cancelling_a_granted_upgrade_leaves_the_shared_hold(
    join: Join, client: lockstream.Client, name: str
) -> None:
    """As releasing it does."""
    wire = await join()
    shared = await wire.hold(reading(1, name))
    await wire.hold(upgrade(2, shared))
    assert (await wire.ask(session_pb2.Cancel(acquire_id=2))).cancelled.was_granted
    assert await tokens_held(client, name) == [shared.token]


async def test_only_a_shared_hold_of_its_own_can_be_upgraded(join: Join, name: str) -> None:
    """With its token; not what waits, is exclusive, or is not there."""
    wire, other = await join(), await join()
    exclusive = await wire.hold(acquire(1, name))
    await other.queue(reading(1, name))
    assert await wire.refused(upgrade(2, exclusive)) == "WRONG_STATE"
    assert await other.refused(upgrade(2, session_pb2.Granted(acquire_id=1, token=1))) == "NOT_HELD"
    await wire.ask(release(exclusive))
    shared = (await other.told("granted")).granted
    assert await wire.refused(upgrade(3, shared)) == "NOT_HELD"
    stale = session_pb2.Granted(acquire_id=1, token=shared.token - 1)
    assert await other.refused(upgrade(2, stale)) == "STALE_TOKEN"
    assert (await other.hold(upgrade(2, shared))).token > shared.token
    assert await other.refused(upgrade(3, shared)) == "ALREADY_HELD"


async def test_without_its_shared_hold_it_waits_like_any_other(join: Join, name: str) -> None:
    """The shared hold is released while it waits."""
    wire, other = await join(), await join()
    shared = await wire.hold(reading(1, name))
    also = await other.hold(reading(1, name))
    await wire.queue(upgrade(2, shared))
    assert (await wire.ask(release(shared))).HasField("released")
    assert (await wire.queue(upgrade(2, shared))).position == 1
    assert await wire.refused(acquire(3, name, owner="owner-1")) == "ALREADY_HELD"
    assert wire.unread == []
    await other.ask(release(also))
    exclusive = (await wire.told("granted")).granted
    await other.queue(reading(2, name))
    await wire.ask(release(exclusive))
    assert (await other.told("granted")).granted.acquire_id == 2


async def up_to_exclusive(wire: Wire, name: str, upgraded: bool) -> list[session_pb2.Granted]:
    """What a session has that holds exclusively, from the start or by an upgrade; the exclusive hold comes last."""
    if not upgraded:
        return [await wire.hold(acquire(1, name))]
    shared = await wire.hold(reading(1, name))
    return [shared, await wire.hold(upgrade(2, shared))]


@pytest.mark.parametrize("upgraded", [False, True])
async def test_a_downgrade_keeps_token_and_place_and_lets_readers_in(
    join: Join, client: lockstream.Client, name: str, upgraded: bool
) -> None:
    """At once, up to the next writer; whether it was exclusive from the start. Once more, it changes nothing."""
    wire, reader, writer, late = [await join() for _ in range(4)]
    grants = await up_to_exclusive(wire, name, upgraded)
    exclusive = grants[-1]
    await reader.queue(reading(1, name))
    await writer.queue(acquire(1, name))
    await late.queue(reading(1, name))
    stale = session_pb2.Downgrade(acquire_id=exclusive.acquire_id, token=exclusive.token + 1)
    assert await wire.refused(stale) == "STALE_TOKEN"
    for _ in range(2):
        assert (await wire.ask(downgrade(exclusive))).HasField("downgraded")
    beside = (await reader.told("granted")).granted
    assert await tokens_held(client, name) == [*(granted.token for granted in grants), beside.token]
    assert [event for event in writer.unread if not event.HasField("position_changed")] == []
    for granted in grants:
        assert (await wire.ask(release(granted))).HasField("released")
    await reader.ask(release(beside))
    written = (await writer.told("granted")).granted
    await writer.ask(release(written))
    assert (await late.told("granted")).granted.token > written.token


async def test_a_downgraded_hold_can_be_upgraded_again(join: Join, name: str) -> None:
    """It is a shared hold like any other."""
    wire = await join()
    exclusive = await wire.hold(acquire(1, name))
    await wire.ask(downgrade(exclusive))
    again = await wire.hold(upgrade(2, exclusive))
    assert again.token > exclusive.token
    await wire.ask(downgrade(again))
    assert await wire.refused(upgrade(3, exclusive)) == "ALREADY_HELD"
    await wire.ask(release(exclusive))
    third = await wire.hold(upgrade(3, again))
    await wire.ask(release(third))
    await wire.ask(release(again))
    await wire.hold(acquire(4, name, owner="owner-1"))


async def test_a_name_can_go_up_and_down_for_ever(join: Join, name: str) -> None:
    """Each upgrade begins from the same shared hold."""
    wire = await join()
    shared = await wire.hold(reading(1, name))
    for acquire_id in range(2, 12):
        exclusive = await wire.hold(upgrade(acquire_id, shared))
        if acquire_id % 2:
            assert (await wire.ask(downgrade(exclusive))).HasField("downgraded")
        assert (await wire.ask(release(exclusive))).HasField("released")
    assert (await wire.ask(release(shared))).HasField("released")


async def test_what_cannot_become_shared_is_refused(join: Join, name: str) -> None:
    """Permits are no lock; and what is not held is nothing."""
    wire = await join()
    counted = acquire(1, name, mode=lock_pb2.MODE_PERMITS)
    counted.limit = 2
    assert await wire.refused(downgrade(await wire.hold(counted))) == "WRONG_STATE"
    assert await wire.refused(session_pb2.Downgrade(acquire_id=9, token=9)) == "NOT_HELD"


async def test_it_goes_on_waiting_over_a_resume_at_another_server(
    three_servers: Sequence[ServerProcess], join: Join, name: str
) -> None:
    """Asked again it queues no second time; granted there, and downgraded, it is shared at a third server too."""
    wire, other = await join(three_servers[0], grace=None), await join(three_servers[1])
    shared = await wire.hold(reading(1, name))
    also = await other.hold(reading(1, name))
    await wire.queue(upgrade(2, shared))
    await wire.cut()
    async with Wire(three_servers[1].target) as again, Wire(three_servers[2].target) as third:
        claims = {claim.acquire_id: claim for claim in (await again.resume(wire.attached)).claims}
        assert (claims[1].mode, claims[1].state) == (SHARED, lock_pb2.ENTRY_STATE_HELD)
        assert (claims[2].mode, claims[2].state) == (UPGRADE, lock_pb2.ENTRY_STATE_WAITING)
        assert (await again.queue(upgrade(2, shared))).position == 1
        await other.ask(release(also))
        exclusive = (await again.told("granted")).granted
        await other.queue(reading(2, name))
        await again.cut()
        claims = {claim.acquire_id: claim for claim in (await third.resume(again.attached)).claims}
        assert (claims[2].state, claims[2].token) == (lock_pb2.ENTRY_STATE_HELD, exclusive.token)
        assert (await third.ask(downgrade(exclusive))).HasField("downgraded")
        assert (await other.told("granted")).granted.token > exclusive.token
