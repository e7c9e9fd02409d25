"""What a hold says of itself."""

from collections.abc import Sequence

from google.rpc import error_details_pb2

from lockstream.v1 import lock_pb2, session_pb2
from tests.integration.conftest import Join
from tests.support.calls import Stubs
from tests.support.server import ServerProcess
from tests.support.wire import Wire, acquire, acquire_all, release, upgrade

MAX_BYTES = 4096


def say(granted: session_pb2.Granted, value: bytes, **metadata: str) -> session_pb2.SetValue:
    """The request that has the hold say something else."""
    return session_pb2.SetValue(acquire_id=granted.acquire_id, token=granted.token, value=value, metadata=metadata)


def saying(acquire_id: int, name: str, value: bytes, **metadata: str) -> session_pb2.Acquire:
    """An acquire with a value from the start."""
    asked = acquire(acquire_id, name)
    asked.value = value
    asked.metadata.update(metadata)
    return asked


async def said(stubs: Stubs, name: str) -> list[tuple[bytes, dict[str, str]]]:
    """What those say who hold or wait."""
    return [(entry.value, dict(entry.metadata)) for entry in await stubs.entries(name)]


async def test_a_value_is_shown_from_the_acquire_on(join: Join, stubs: Stubs, name: str) -> None:
    """That of a waiter as well, for when it holds."""
    holder, waiter = await join(), await join()
    granted = await holder.hold(saying(1, name, b"\x00\xff first", zone="a"))
    await waiter.queue(saying(1, name, b"second", zone="b"))
    assert await said(stubs, name) == [(b"\x00\xff first", {"zone": "a"}), (b"second", {"zone": "b"})]
    await holder.ask(release(granted))
    await waiter.told("granted")
    assert await said(stubs, name) == [(b"second", {"zone": "b"})]


async def test_the_holder_changes_it_under_the_same_token(join: Join, stubs: Stubs, name: str) -> None:
    """Value and labels as a whole; again it changes nothing, and empty it is gone."""
    wire, waiter = await join(), await join()
    granted = await wire.hold(saying(1, name, b"one", zone="a", old="yes"))
    await waiter.queue(acquire(1, name))
    for _ in range(2):
        assert (await wire.ask(say(granted, b"two", zone="b"))).HasField("value_set")
        assert (await said(stubs, name))[0] == (b"two", {"zone": "b"})
    assert (await stubs.entries(name))[0].token == granted.token
    assert (await wire.ask(say(granted, b""))).HasField("value_set")
    assert (await said(stubs, name))[0] == (b"", {})
    assert wire.unread == waiter.unread == []
    assert (await wire.ask(release(granted))).HasField("released")
    await waiter.told("granted")


async def test_many_changes_in_one_go_end_with_the_last(join: Join, stubs: Stubs, name: str) -> None:
    """They are answered each, in any case."""
    wire = await join()
    granted = await wire.hold(acquire(1, name))
    for request_id in await wire.send(*[say(granted, str(number).encode()) for number in range(200)]):
        assert (await wire.reply(request_id)).HasField("value_set")
    assert await said(stubs, name) == [(b"199", {})]


async def test_only_who_holds_can_change_it(join: Join, stubs: Stubs, name: str) -> None:
    """Not a waiter, not under another token, not after the release."""
    holder, waiter = await join(), await join()
    granted = await holder.hold(saying(1, name, b"mine"))
    await waiter.queue(acquire(1, name))
    token = (await stubs.entries(name))[1].token
    assert await waiter.refused(say(session_pb2.Granted(acquire_id=1, token=token), b"x")) == "NOT_HELD"
    assert await waiter.refused(say(session_pb2.Granted(acquire_id=7, token=granted.token), b"x")) == "NOT_HELD"
    stale = session_pb2.Granted(acquire_id=1, token=granted.token - 1)
    assert await holder.refused(say(stale, b"x")) == "STALE_TOKEN"
    assert await said(stubs, name) == [(b"mine", {}), (b"", {})]
    await holder.ask(release(granted))
    assert await holder.refused(say(granted, b"x")) == "NOT_HELD"
    await waiter.told("granted")
    assert await said(stubs, name) == [(b"", {})]


async def test_it_survives_a_resume_and_is_changed_there(
    three_servers: Sequence[ServerProcess], join: Join, stubs: Stubs, name: str
) -> None:
    """And everything else that the acquire said survives the change."""
    wire = await join(three_servers[0], grace=None)
    asked = saying(1, name, b"before")
    asked.max_hold.FromSeconds(500)
    asked.lock_delay.FromSeconds(1)
    granted = await wire.hold(asked)
    await wire.ask(say(granted, b"between", zone="a"))
    await wire.cut()
    async with Wire(three_servers[1].target) as again:
        await again.resume(wire.attached)
        assert await said(stubs, name) == [(b"between", {"zone": "a"})]
        assert (await again.ask(say(granted, b"after"))).HasField("value_set")
        [entry] = await stubs.entries(name)
        assert (entry.token, entry.value, entry.owner) == (granted.token, b"after", "owner-1")
        assert entry.max_hold.ToTimedelta().total_seconds() == 500
        assert entry.lock_delay.ToTimedelta().total_seconds() == 1
        assert (await again.hold(asked)).token == granted.token
        assert (await again.ask(release(granted))).HasField("released")


async def test_it_stays_through_a_downgrade_and_each_hold_of_an_upgrade_has_its_own(
    join: Join, stubs: Stubs, name: str
) -> None:
    """Shared holds have one each anyway."""
    wire, other = await join(), await join()
    granted = await wire.hold(saying(1, name, b"writer"))
    await wire.ask(session_pb2.Downgrade(acquire_id=1, token=granted.token))
    shared = acquire(1, name, mode=lock_pb2.MODE_SHARED)
    shared.value = b"reader"
    also = await other.hold(shared)
    assert [value for value, _ in await said(stubs, name)] == [b"writer", b"reader"]
    await other.ask(release(also))
    upgraded = await wire.hold(upgrade(2, granted))
    assert (await wire.ask(say(upgraded, b"again"))).HasField("value_set")
    assert [value for value, _ in await said(stubs, name)] == [b"writer", b"again"]


async def test_it_has_a_largest_size(join: Join, stubs: Stubs, name: str) -> None:
    """Which fits; a byte more is refused with the field named, and changes nothing."""
    wire = await join()
    granted = await wire.hold(saying(1, name, bytes(MAX_BYTES)))
    assert (await wire.ask(say(granted, b"\xff" * MAX_BYTES, key="v" * (MAX_BYTES - 3)))).HasField("value_set")
    [(value, metadata)] = await said(stubs, name)
    assert (value, metadata) == (b"\xff" * MAX_BYTES, {"key": "v" * (MAX_BYTES - 3)})
    for refused, field in (
        (say(granted, bytes(MAX_BYTES + 1)), "value"),
        (say(granted, b"", key="v" * MAX_BYTES), "metadata"),
        (say(granted, b"", **{f"key{number}": "" for number in range(33)}), "metadata"),
        (saying(2, f"{name}/other", bytes(MAX_BYTES + 1)), "value"),
    ):
        error = (await wire.ask(refused)).error
        request = error_details_pb2.BadRequest()
        assert [v.field for detail in error.details if detail.Unpack(request) for v in request.field_violations] == [
            field
        ]
    assert len((await said(stubs, name))[0][0]) == MAX_BYTES


async def test_several_at_once_have_none(join: Join, name: str) -> None:
    """It would not be known of which."""
    wire = await join()
    granted = await wire.hold(acquire_all(1, f"{name}/a", f"{name}/b"))
    assert await wire.refused(say(granted, b"x")) == "WRONG_STATE"
