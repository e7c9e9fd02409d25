"""A shared lock that becomes exclusive, and an exclusive one that becomes shared."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import lockstream
from lockstream import ErrorReason, LossReason
from lockstream.v1 import session_pb2
from tests.unit.client.scripted import acquire_id, claim, lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.client.conftest import Opened, Play


class Reader:
    """A shared lock with token 5, and the requests that made it what it is."""

    def __init__(self, play: Play, lock: lockstream.Lock) -> None:
        self.play = play
        self.lock = lock
        self.shared = play.granted
        self.upgrade = session_pb2.Request()

    async def upgraded(self, token: int = 9) -> None:
        _, self.upgrade = await asyncio.gather(self.lock.upgrade(), self.play.stream.grant(token, "upgrade"))

    async def waiting(self, wait: float | None = None) -> asyncio.Task[None]:
        """An upgrade that waits."""
        upgrading = asyncio.create_task(self.lock.upgrade(wait=wait))
        self.upgrade = await self.play.stream.queue(1, "upgrade")
        return upgrading

    async def granted(self, token: int = 9) -> None:
        granted = session_pb2.Granted(acquire_id=acquire_id(self.upgrade), token=token)
        await self.play.stream.push(session_pb2.Event(granted=granted))

    async def both_released(self) -> None:
        """Both claims are released in one frame; the lock is released only when both replies are there."""
        releasing = asyncio.create_task(self.lock.release())
        first = await self.play.stream.expect("release")
        assert self.play.stream.unread == 1
        second = await self.play.stream.expect("release")
        assert {(request.release.acquire_id, request.release.token) for request in (first, second)} == {
            (acquire_id(self.shared), 5),
            (acquire_id(self.upgrade), 9),
        }
        released = session_pb2.Released()
        await self.play.stream.reply(first, session_pb2.Reply(released=released))
        await self.play.acquire("another")  # its grant is read after the first reply
        assert not releasing.done()
        await self.play.stream.reply(second, session_pb2.Reply(released=released))
        await releasing


@pytest.fixture
async def reader(opened: Opened) -> AsyncIterator[Reader]:
    async with opened() as play:
        yield Reader(play, await play.acquire("a", token=5, shared=True))


async def test_an_upgrade_makes_the_lock_exclusive_with_another_token(reader: Reader) -> None:
    assert (reader.lock.token, reader.lock.shared) == (5, True)
    await reader.upgraded()
    asked = reader.upgrade.upgrade
    assert (asked.shared_acquire_id, asked.token) == (acquire_id(reader.shared), 5)
    assert asked.acquire_id != asked.shared_acquire_id
    assert (reader.lock.token, reader.lock.shared, reader.lock.held) == (9, False, True)
    await reader.both_released()
    with pytest.raises(lockstream.NotHeld):
        await reader.lock.release()


@pytest.mark.parametrize(("wait", "sent"), [(None, None), (0, "no_wait"), (2, "timeout")])
async def test_the_wait_is_sent_as_asked(reader: Reader, wait: float | None, sent: str | None) -> None:
    _, request = await asyncio.gather(reader.lock.upgrade(wait=wait), reader.play.stream.grant(9, "upgrade"))
    assert request.upgrade.WhichOneof("wait") == sent


async def test_while_it_waits_the_shared_lock_is_held_as_before(reader: Reader) -> None:
    upgrading = await reader.waiting()
    assert (reader.lock.token, reader.lock.shared, reader.lock.held) == (5, True, True)
    reader.lock.check()
    await reader.granted()
    await upgrading
    assert (reader.lock.token, reader.lock.shared) == (9, False)


async def test_a_cancelled_upgrade_leaves_the_shared_lock(reader: Reader) -> None:
    upgrading = await reader.waiting()
    upgrading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upgrading
    assert (await reader.play.stream.cancel()).cancel.acquire_id == acquire_id(reader.upgrade)
    assert (reader.lock.token, reader.lock.shared, reader.lock.held) == (5, True, True)
    _, release = await asyncio.gather(reader.lock.release(), reader.play.stream.release())
    assert release.release.token == 5


async def test_a_grant_that_races_with_the_cancellation_is_given_back(reader: Reader) -> None:
    upgrading = await reader.waiting()
    upgrading.cancel()
    await reader.granted()
    with pytest.raises(asyncio.CancelledError):
        await upgrading
    assert (await reader.play.stream.cancel()).cancel.acquire_id == acquire_id(reader.upgrade)
    assert (reader.lock.token, reader.lock.shared, reader.lock.held) == (5, True, True)


async def test_the_next_upgrade_waits_until_the_cancelled_one_is_gone(reader: Reader) -> None:
    upgrading = await reader.waiting()
    upgrading.cancel()
    await asyncio.wait((upgrading,))
    again = asyncio.create_task(reader.lock.upgrade())
    cancel = await reader.play.stream.expect("cancel")
    await reader.play.acquire("another")  # comes before the second upgrade, or `expect` fails
    await reader.play.stream.reply(cancel, session_pb2.Reply(cancelled=session_pb2.Cancelled()))
    await reader.play.stream.grant(9, "upgrade")
    await again
    assert reader.lock.token == 9


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (ErrorReason.UPGRADE_CONFLICT, lockstream.UpgradeConflict),
        (ErrorReason.WOULD_BLOCK, lockstream.WouldBlock),
        (ErrorReason.WAIT_TIMEOUT, lockstream.WaitTimeout),
    ],
)
async def test_a_refused_upgrade_leaves_the_shared_lock(
    reader: Reader, reason: ErrorReason, error: type[lockstream.LockstreamError]
) -> None:
    upgrading = asyncio.create_task(reader.lock.upgrade())
    await reader.play.stream.refuse(await reader.play.stream.expect("upgrade"), reason)
    with pytest.raises(error):
        await upgrading
    assert (reader.lock.token, reader.lock.shared, reader.lock.held) == (5, True, True)
    await reader.upgraded()


async def test_an_upgrade_that_may_have_taken_effect_is_withdrawn(reader: Reader) -> None:
    upgrading = asyncio.create_task(reader.lock.upgrade())
    request = await reader.play.stream.expect("upgrade")
    await reader.play.stream.refuse(request, ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False)
    with pytest.raises(lockstream.StoreUnavailable):
        await upgrading
    assert (await reader.play.stream.cancel()).cancel.acquire_id == acquire_id(request)
    assert reader.lock.held


async def test_only_a_shared_lock_is_upgraded_and_only_once_at_a_time(reader: Reader) -> None:
    upgrading = await reader.waiting()
    with pytest.raises(lockstream.WrongState, match="already"):
        await reader.lock.upgrade()
    await reader.granted()
    await upgrading
    with pytest.raises(lockstream.WrongState, match="not shared"):
        await reader.lock.upgrade()


@pytest.mark.parametrize("which", ["shared", "upgrade"])
async def test_the_loss_of_either_is_the_loss_of_the_lock(reader: Reader, which: str) -> None:
    await reader.upgraded()
    losses: list[LossReason | None] = []
    reader.lock.listen(losses.append)
    gone, token, left = (reader.shared, 5, reader.upgrade) if which == "shared" else (reader.upgrade, 9, reader.shared)
    await reader.play.stream.push(lost(gone, token, LossReason.FORCE_RELEASED, detail="stuck"))
    assert await reader.lock.lost.wait() is LossReason.FORCE_RELEASED
    assert not reader.lock.held
    assert losses == [LossReason.FORCE_RELEASED]
    with pytest.raises(lockstream.LockLost, match=r"token 9 .*stuck"):
        await reader.lock.release()
    # What is left of it at the server is withdrawn.
    assert (await reader.play.stream.cancel()).cancel.acquire_id == acquire_id(left)


async def test_the_loss_of_the_shared_lock_ends_an_upgrade_that_waits(reader: Reader) -> None:
    upgrading = await reader.waiting()
    await reader.play.stream.push(lost(reader.shared, 5, LossReason.REMOVED_EXTERNALLY))
    with pytest.raises(lockstream.LockLost):
        await upgrading
    assert (await reader.play.stream.cancel()).cancel.acquire_id == acquire_id(reader.upgrade)
    assert reader.lock.lost.is_set()


async def test_a_release_gives_up_an_upgrade_that_waits(reader: Reader) -> None:
    upgrading = await reader.waiting()
    releasing = asyncio.create_task(reader.lock.release())
    assert (await reader.play.stream.cancel()).cancel.acquire_id == acquire_id(reader.upgrade)
    await reader.play.stream.release()
    await releasing
    with pytest.raises(lockstream.NotHeld):
        await upgrading


async def test_a_closed_session_loses_an_upgraded_lock_once(reader: Reader) -> None:
    await reader.upgraded()
    losses: list[LossReason | None] = []
    reader.lock.listen(losses.append)
    closing = asyncio.create_task(reader.play.session.close())
    close = await reader.play.stream.expect("close")
    assert reader.play.stream.unread == 0  # nothing is asked of a session after its end
    await reader.play.stream.reply(close, session_pb2.Reply(closed=session_pb2.Closed()))
    await closing
    assert losses == [LossReason.LEASE_EXPIRED]


async def test_an_upgraded_lock_outlives_a_cut_stream(reader: Reader) -> None:
    await reader.upgraded()
    await reader.play.cut()
    await reader.play.resumed(claim(reader.shared, 5), claim(reader.upgrade, 9))
    assert (reader.lock.token, reader.lock.held) == (9, True)
    await reader.both_released()


@pytest.mark.parametrize("which", ["shared", "upgrade"])
async def test_a_resume_that_finds_one_of_two_finds_the_lock_lost(reader: Reader, which: str) -> None:
    await reader.upgraded()
    left = claim(reader.upgrade, 9) if which == "shared" else claim(reader.shared, 5)
    await reader.play.cut()
    await reader.play.resumed(left)
    assert await reader.lock.lost.wait() is LossReason.LEASE_EXPIRED
    assert (await reader.play.stream.cancel()).cancel.acquire_id == left.acquire_id
    await reader.play.acquire("b")  # comes right after it, or `expect` fails: there is no second cancel


async def test_an_upgrade_that_never_arrived_is_sent_again(reader: Reader) -> None:
    upgrading = asyncio.create_task(reader.lock.upgrade())
    first = await reader.play.stream.expect("upgrade")
    await reader.play.cut()
    await reader.play.resumed(claim(reader.shared, 5))
    again = await reader.play.stream.grant(9, "upgrade")
    await upgrading
    assert again.upgrade == first.upgrade


async def test_an_upgrade_that_waits_keeps_its_place_over_a_resume(reader: Reader) -> None:
    upgrading = await reader.waiting(wait=5)
    await reader.play.cut()
    await reader.play.resumed(claim(reader.shared, 5), claim(reader.upgrade))
    again = await reader.play.stream.grant(9, "upgrade")
    await upgrading
    assert acquire_id(again) == acquire_id(reader.upgrade)
    assert again.upgrade.timeout.ToNanoseconds() < reader.upgrade.upgrade.timeout.ToNanoseconds()


async def test_a_granted_upgrade_that_was_not_heard_of_is_found_by_the_resume(reader: Reader) -> None:
    upgrading = await reader.waiting()
    await reader.play.cut()
    await reader.play.resumed(claim(reader.shared, 5), claim(reader.upgrade, 9))
    await upgrading
    assert reader.lock.token == 9


async def test_a_half_heard_release_of_both_is_completed_after_a_resume(reader: Reader) -> None:
    await reader.upgraded()
    releasing = asyncio.create_task(reader.lock.release())
    await reader.play.stream.expect("release")
    await reader.play.cut()
    await reader.play.resumed(claim(reader.shared, 5))
    assert not releasing.done()
    assert (await reader.play.stream.release()).release.token == 5
    await releasing
    assert not reader.lock.lost.is_set()


async def test_a_downgrade_keeps_the_token(play: Play) -> None:
    lock = await play.acquire("a", token=7)
    _, request = await asyncio.gather(lock.downgrade(), play.stream.downgrade())
    assert (request.downgrade.acquire_id, request.downgrade.token) == (acquire_id(play.granted), 7)
    assert (lock.token, lock.shared, lock.held) == (7, True, True)
    _, release = await asyncio.gather(lock.release(), play.stream.release())
    assert release.release.token == 7


async def test_a_lock_counts_as_shared_before_the_downgrade_is_answered(play: Play) -> None:
    lock = await play.acquire("a")
    downgrading = asyncio.create_task(lock.downgrade())
    request = await play.stream.expect("downgrade")
    assert lock.shared
    await play.stream.refuse(request, ErrorReason.STORE_UNAVAILABLE, retryable=True, settled=False)
    with pytest.raises(lockstream.StoreUnavailable):
        await downgrading
    assert lock.shared
    await asyncio.gather(lock.downgrade(), play.stream.downgrade())


async def test_an_upgraded_lock_that_is_downgraded_keeps_the_token_of_the_upgrade(reader: Reader) -> None:
    await reader.upgraded()
    _, request = await asyncio.gather(reader.lock.downgrade(), reader.play.stream.downgrade())
    assert (request.downgrade.acquire_id, request.downgrade.token) == (acquire_id(reader.upgrade), 9)
    assert (reader.lock.token, reader.lock.shared) == (9, True)
    await reader.both_released()


async def test_a_second_upgrade_stands_on_what_the_first_became(reader: Reader) -> None:
    """The shared claim below it goes first: an upgrade would wait for it for ever."""
    await reader.upgraded()
    await asyncio.gather(reader.lock.downgrade(), reader.play.stream.downgrade())
    upgrading = asyncio.create_task(reader.lock.upgrade())
    assert (await reader.play.stream.release()).release.token == 5  # comes before the upgrade, or `expect` fails
    request = await reader.play.stream.grant(12, "upgrade")
    await upgrading
    assert (request.upgrade.shared_acquire_id, request.upgrade.token) == (acquire_id(reader.upgrade), 9)
    assert (reader.lock.token, reader.lock.shared, reader.lock.held) == (12, False, True)
    releasing = asyncio.create_task(reader.lock.release())
    assert {(await reader.play.stream.release()).release.token for _ in range(2)} == {9, 12}
    await releasing
