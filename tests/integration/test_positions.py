"""Waiters hear how far they have moved up."""

from lockstream.v1 import lock_pb2, session_pb2
from tests.integration.conftest import Join
from tests.support.waiters import Stopwatch
from tests.support.wire import Wire, acquire, release, upgrade

PROMISED_SECONDS = 1.0
"""Within about this long a waiter knows its place."""
SLACK_SECONDS = 0.5


async def moved(wire: Wire) -> tuple[int, int]:
    """The acquire and the place in the next event, which tells of a move."""
    event = await wire.event()
    assert event.HasField("position_changed"), event
    return event.position_changed.acquire_id, event.position_changed.position


async def test_everybody_behind_one_who_leaves_is_told_within_about_a_second(join: Join, name: str) -> None:
    """Whoever leaves, and through whichever server; those before it hear nothing."""
    holder, first, leaver, third, fourth = [await join() for _ in range(5)]
    await holder.hold(acquire(1, name))
    for place, waiter in enumerate((first, leaver, third, fourth), start=1):
        assert (await waiter.queue(acquire(1, name))).position == place
    left = Stopwatch()
    await leaver.ask(session_pb2.Cancel(acquire_id=1))
    assert await moved(third) == (1, 2)
    assert await moved(fourth) == (1, 3)
    assert left.seconds <= PROMISED_SECONDS + SLACK_SECONDS
    await first.ask(session_pb2.Heartbeat())
    assert first.unread == []


async def test_many_moves_are_told_as_one(join: Join, name: str) -> None:
    """The last word is true, and there are few before it: at most about one in a second."""
    holder, crowd, last = [await join() for _ in range(3)]
    await holder.hold(acquire(1, name))
    for acquire_id in range(1, 41):
        await crowd.queue(acquire(acquire_id, name))
    assert (await last.queue(acquire(1, name))).position == 41
    left = Stopwatch()
    for acquire_id in range(1, 41):
        await crowd.ask(session_pb2.Cancel(acquire_id=acquire_id))
    places = [41]
    while places[-1] != 1:
        places.append((await moved(last))[1])
    assert places == sorted(places, reverse=True)
    assert len(places) - 1 <= left.seconds / PROMISED_SECONDS + 1


async def test_a_grant_is_the_last_that_is_told(join: Join, name: str) -> None:
    """Also when places changed just before it."""
    holder, between, waiter, behind = [await join() for _ in range(4)]
    granted = await holder.hold(acquire(1, name))
    for wire in (between, waiter, behind):
        await wire.queue(acquire(1, name))
    await between.ask(session_pb2.Cancel(acquire_id=1))
    await holder.ask(release(granted))
    assert (await waiter.event()).HasField("granted")
    # By when the one behind is told, the one before it would have been told as well.
    assert await moved(behind) == (1, 1)
    await waiter.ask(session_pb2.Heartbeat())
    assert waiter.unread == []


async def test_a_writer_behind_readers_moves_up_as_they_are_let_in(join: Join, name: str) -> None:
    """By a downgrade, where nobody has left."""
    holder, reader, writer = [await join() for _ in range(3)]
    granted = await holder.hold(acquire(1, name))
    await reader.queue(acquire(1, name, mode=lock_pb2.MODE_SHARED))
    assert (await writer.queue(acquire(1, name))).position == 2
    await holder.ask(session_pb2.Downgrade(acquire_id=1, token=granted.token))
    assert (await reader.event()).HasField("granted")
    assert await moved(writer) == (1, 1)


async def test_the_place_of_one_that_waits_for_several_is_its_last(join: Join, name: str) -> None:
    """It is told as that changes."""
    holder, between, waiter = [await join() for _ in range(3)]
    await holder.hold(session_pb2.AcquireAll(acquire_id=1, parts=parts_of(name)))
    await between.queue(acquire(1, f"{name}/1"))
    asked = session_pb2.AcquireAll(acquire_id=1, parts=parts_of(name))
    assert (await waiter.queue(asked)).position == 2
    await between.ask(session_pb2.Cancel(acquire_id=1))
    assert await moved(waiter) == (1, 1)


def parts_of(name: str) -> list[session_pb2.AcquireAll.Part]:
    """Two locks."""
    return [session_pb2.AcquireAll.Part(name=f"{name}/{number}") for number in range(2)]


async def test_an_upgrade_is_the_next_in_line(join: Join, name: str) -> None:
    """Its own shared hold, and those of others, hold and do not wait."""
    wire, other, late = [await join() for _ in range(3)]
    shared = await wire.hold(acquire(1, name, mode=lock_pb2.MODE_SHARED))
    await other.hold(acquire(1, name, mode=lock_pb2.MODE_SHARED))
    assert (await wire.queue(upgrade(2, shared))).position == 1
    assert (await late.queue(acquire(1, name, mode=lock_pb2.MODE_SHARED))).position == 2
