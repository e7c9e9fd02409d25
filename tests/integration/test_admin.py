"""Breaking what others hold: who is told, what stays on record, and what is refused."""

from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

import lockstream
from lockstream.v1 import admin_pb2, errors_pb2, lock_pb2, session_pb2
from tests.integration.conftest import Join
from tests.support.calls import Stubs
from tests.support.etcd import EtcdProcess
from tests.support.refusals import assert_invalid
from tests.support.server import ServerProcess
from tests.support.waiting import until_free
from tests.support.wire import Wire, acquire, acquire_all, permits, reason, release

REASON, ACTOR = "it has hung since Tuesday", "ada@example.org"

Ask = admin_pb2.ForceReleaseRequest | admin_pb2.EndSessionRequest


async def refused(stubs: Stubs, asked: Ask) -> status_pb2.Status:
    """The status with which a call of the admin service fails."""
    call = stubs.admin.ForceRelease if isinstance(asked, admin_pb2.ForceReleaseRequest) else stubs.admin.EndSession
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(asked)  # type: ignore[arg-type]  # it is the one that fits
    status = status_pb2.Status()
    metadata = raised.value.trailing_metadata()
    assert metadata is not None
    status.ParseFromString(dict(metadata)["grpc-status-details-bin"])
    return status


async def test_a_hold_is_broken_by_its_token(join: Join, stubs: Stubs, name: str) -> None:
    """At whichever server it is: its holder is told why and by whom, the next is granted, and it is on record."""
    for number, holder in enumerate([await join() for _ in range(3)], 1):
        waiter = await join()
        granted = await holder.hold(acquire(1, name))
        await waiter.queue(acquire(1, name))
        [eviction] = await stubs.force_release(name, token=granted.token, reason=REASON, actor=ACTOR)
        lost = (await holder.told("lost")).lost
        assert (lost.acquire_id, lost.name, lost.token) == (1, name, granted.token)
        assert (lost.reason, lost.detail, lost.actor) == (errors_pb2.LOSS_REASON_FORCE_RELEASED, REASON, ACTOR)
        again = (await waiter.told("granted")).granted
        assert again.token > granted.token
        assert (eviction.name, eviction.session_id) == (name, holder.attached.session_id)
        assert (eviction.acquire_id, eviction.token) == (1, granted.token)
        assert (eviction.reason, eviction.actor) == (REASON, ACTOR)
        assert (await stubs.evictions(name, least=number))[0] == eviction
        assert await stubs.evictions(session_id=holder.attached.session_id) == [eviction]
        assert await holder.refused(release(granted)) == "NOT_HELD"
        await waiter.ask(release(again))
        assert holder.unread == waiter.unread == []
    assert len(await stubs.evictions(name)) == number == 3


async def test_another_token_breaks_nothing(join: Join, stubs: Stubs, name: str) -> None:
    """Neither that of a hold which has passed, nor that of a waiter, nor one of a free lock."""
    holder, waiter = await join(), await join()
    before = await holder.hold(acquire(1, name))
    await holder.ask(release(before))
    granted = await holder.hold(acquire(2, name))
    await waiter.queue(acquire(1, name))
    waiting = (await stubs.entries(name))[1].token
    for asked in (
        admin_pb2.ForceReleaseRequest(name=name, token=before.token),
        admin_pb2.ForceReleaseRequest(name=name, token=waiting),
        admin_pb2.ForceReleaseRequest(name=f"{name}/free", token=granted.token),
        admin_pb2.ForceReleaseRequest(name=f"{name}/free", any=True),
    ):
        asked.reason, asked.actor = REASON, ACTOR
        assert reason(await refused(stubs, asked)) == "NOT_HELD"
    assert [entry.token for entry in await stubs.entries(name)] == [granted.token, waiting]
    assert await stubs.evictions(name) == []


async def test_any_breaks_all_that_hold(join: Join, stubs: Stubs, name: str) -> None:
    """And none that wait. Of shared holds one can be broken by its token."""
    first, second, third, waiter = [await join() for _ in range(4)]
    grants = [await wire.hold(permits(1, name, 1, 3)) for wire in (first, second, third)]
    await waiter.queue(permits(1, name, 3, 3))
    [eviction] = await stubs.force_release(name, token=grants[1].token)
    assert eviction.session_id == second.attached.session_id
    assert (await second.told("lost")).lost.token == grants[1].token
    assert [entry.token for entry in await stubs.entries(name)][:2] == [grants[0].token, grants[2].token]
    evictions = await stubs.force_release(name)
    assert [each.token for each in evictions] == [grants[0].token, grants[2].token]
    for wire in (first, third):
        assert (await wire.told("lost")).lost.reason == errors_pb2.LOSS_REASON_FORCE_RELEASED
    assert (await waiter.told("granted")).granted.acquire_id == 1
    assert {each.token for each in await stubs.evictions(name, least=3)} == {granted.token for granted in grants}


async def test_one_of_several_locks_is_the_loss_of_all(
    join: Join, client: lockstream.Client, stubs: Stubs, name: str
) -> None:
    """Told once, with who did it; the other names are free."""
    wire = await join()
    granted = await wire.hold(acquire_all(1, f"{name}/a", f"{name}/b", f"{name}/c"))
    await stubs.force_release(f"{name}/b", token=granted.token, reason=REASON, actor=ACTOR)
    lost = (await wire.told("lost")).lost
    assert (lost.acquire_id, lost.token) == (1, granted.token)
    assert (lost.reason, lost.detail, lost.actor) == (errors_pb2.LOSS_REASON_FORCE_RELEASED, REASON, ACTOR)
    for letter in "abc":
        await until_free(client, f"{name}/{letter}")
    assert wire.unread == []


@pytest.mark.parametrize("key", ["694d8ab3c4a5f60e", "abcdefghijklmnop.1", "00000000000000ab.²"])
async def test_a_foreign_entry_is_broken_as_well(
    join: Join, stubs: Stubs, etcd: EtcdProcess, lock_key: str, name: str, key: str
) -> None:
    """One that something other than the service wrote, however its key looks; it has a token too, and no session."""
    etcd.etcdctl("put", f"{lock_key}/{key}", "")
    waiter = await join()
    await waiter.queue(acquire(1, name))
    [foreign, _] = await stubs.entries(name)
    assert (foreign.session_id, foreign.state) == ("", lock_pb2.ENTRY_STATE_HELD)
    [eviction] = await stubs.force_release(name, token=foreign.token, reason=REASON, actor=ACTOR)
    assert (eviction.session_id, eviction.acquire_id, eviction.token) == ("", 0, foreign.token)
    assert (await waiter.told("granted")).granted.token > foreign.token
    assert await stubs.evictions(name, least=1) == [eviction]


async def test_ending_a_session_frees_all_it_has_and_tells_it_why(
    join: Join, client: lockstream.Client, stubs: Stubs, name: str
) -> None:
    """What it held is lost, what it awaited ends, and so does its stream; nobody can resume it."""
    wire, other = await join(), await join()
    blocking = await other.hold(acquire(1, f"{name}/b"))
    granted = await wire.hold(acquire(1, f"{name}/a"))
    await wire.queue(acquire(2, f"{name}/b"))
    await other.queue(acquire(2, f"{name}/a"))
    session = wire.attached.session_id
    asked = admin_pb2.EndSessionRequest(session_id=session, reason=REASON, actor=ACTOR)
    eviction = (await stubs.admin.EndSession(asked)).eviction
    assert (eviction.session_id, eviction.name, eviction.acquire_id, eviction.token) == (session, "", 0, 0)
    assert (eviction.reason, eviction.actor) == (REASON, ACTOR)
    told = [await wire.event() for _ in range(3)]
    by_kind = {event.WhichOneof("event"): event for event in told}
    lost = by_kind["lost"].lost
    assert (lost.token, lost.reason) == (granted.token, errors_pb2.LOSS_REASON_FORCE_RELEASED)
    assert (lost.detail, lost.actor) == (REASON, ACTOR)
    assert reason(by_kind["wait_ended"].wait_ended.error) == "SESSION_EXPIRED"
    assert told[-1].HasField("session_ended")
    assert reason(told[-1].session_ended.error) == "SESSION_EXPIRED"
    assert ACTOR in told[-1].session_ended.error.message
    with pytest.raises(EOFError, match="OK"):
        await wire.event()
    assert (await other.told("granted")).granted.acquire_id == 2
    await other.ask(release(blocking))
    await until_free(client, f"{name}/b")
    assert await stubs.evictions(session_id=session, least=1) == [eviction]
    assert reason(await refused(stubs, asked)) == "SESSION_EXPIRED"
    async with Wire(stubs.target) as again:
        resuming = session_pb2.Resume(session_id=session, resume_token=wire.attached.resume_token)
        assert await again.refused(resuming) == "SESSION_EXPIRED"


async def test_a_session_nobody_is_attached_to_can_be_ended(join: Join, stubs: Stubs, name: str) -> None:
    """It is kept for its grace; its lock is free at once."""
    gone, waiter = await join(ttl=60, grace=None), await join()
    await gone.hold(acquire(1, name))
    await waiter.queue(acquire(1, name))
    await gone.cut()
    await stubs.admin.EndSession(
        admin_pb2.EndSessionRequest(session_id=gone.attached.session_id, reason=REASON, actor=ACTOR)
    )
    assert (await waiter.told("granted")).granted.acquire_id == 1


async def test_whoever_was_away_is_told_at_its_return(
    join: Join, server: ServerProcess, stubs: Stubs, name: str
) -> None:
    """Which holds were broken meanwhile, why and by whom; of a session that was ended, who ended it."""
    away = await join(ttl=60, grace=None)
    granted, kept = await away.hold(acquire(1, name)), await away.hold(acquire(2, f"{name}/kept"))
    before = away.attached
    await away.cut()
    await stubs.force_release(name, token=granted.token, reason=REASON, actor=ACTOR)
    async with Wire(server.target) as back:
        await back.resume(before)
        assert [claim.acquire_id for claim in back.attached.claims] == [2]
        [lost] = back.attached.evicted
        assert (lost.acquire_id, lost.name, lost.token) == (1, name, granted.token)
        assert (lost.reason, lost.detail, lost.actor) == (errors_pb2.LOSS_REASON_FORCE_RELEASED, REASON, ACTOR)
        await back.ask(release(kept))
    await stubs.admin.EndSession(admin_pb2.EndSessionRequest(session_id=before.session_id, reason=REASON, actor=ACTOR))
    async with Wire(server.target) as too_late:
        request = session_pb2.Resume(session_id=before.session_id, resume_token=before.resume_token)
        error = (await too_late.ask(request)).error
    assert reason(error) == "SESSION_EXPIRED"
    assert f"{ACTOR} ended the session: {REASON}" in error.message


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "x" * 513}),
        ("hold", {"any": None}),
        ("any", {"any": False}),
        ("token", {"any": None, "token": 0}),
        ("reason", {"reason": ""}),
        ("reason", {"reason": "x" * 1025}),
        ("actor", {"actor": ""}),
        ("actor", {"actor": "x" * 257}),
    ],
)
async def test_a_break_that_does_not_say_all_it_has_to_is_refused(
    join: Join, stubs: Stubs, name: str, field: str, changes: dict[str, Any]
) -> None:
    """With the field named; nothing is broken."""
    wire = await join()
    granted = await wire.hold(acquire(1, name))
    right: dict[str, Any] = {"name": name, "any": True, "reason": REASON, "actor": ACTOR}
    assert_invalid(await refused(stubs, admin_pb2.ForceReleaseRequest(**right | changes)), field)
    assert [entry.token for entry in await stubs.entries(name)] == [granted.token]


@pytest.mark.parametrize("field", ["session_id", "reason", "actor"])
async def test_an_end_that_does_not_say_all_it_has_to_is_refused(join: Join, stubs: Stubs, field: str) -> None:
    """With the field named; the session goes on."""
    wire = await join()
    asked = admin_pb2.EndSessionRequest(session_id=wire.attached.session_id, reason=REASON, actor=ACTOR)
    asked.ClearField(field)  # type: ignore[arg-type]  # one of its fields
    assert_invalid(await refused(stubs, asked), field)
    assert (await wire.ask(session_pb2.Heartbeat())).HasField("proof")
