"""A release was told `NOT_HELD`, and the lock could stay taken.

A holder released its lock; the entry was gone, the stream broke before the reply. Meanwhile a first attempt of its
acquire, long taken for lost, was written: no entry was in its way any more. The client resumed, at another server,
which found an entry of that acquire and, as it had not seen the acquire made, took it for the session's. The client
sent its release again, with the token that it had: refused, for that hold was gone. Nobody wanted the new entry, and
nobody gave it up; once granted it would have held for as long as the session.

It broke the promise that a repeated release succeeds, and that nothing is held which nobody holds. Since then a client
that resumes goes by the token too, and cancels what it finds with another one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lockstream import _snapshot
from lockstream._claims import ClaimState
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.unit.client.scripted import acquire_id, claim

if TYPE_CHECKING:
    from lockstream._claims import Claim
    from lockstream._ledger import Ledger
    from lockstream._link import Link
    from lockstream.v1 import session_pb2
    from tests.unit.client.conftest import Play

LATE = 24
"""The token of what was written late; 0 while it waits."""


@pytest.mark.parametrize("token", [LATE, 0], ids=["held", "waiting"])
async def test_what_was_written_late_is_cancelled(play: Play, token: int) -> None:
    lock = await play.acquire("a", token=7)
    releasing = asyncio.create_task(lock.release())
    await play.stream.expect("release")
    await play.cut()
    await play.resumed(claim(play.granted, token))
    try:
        assert (await play.stream.cancel()).cancel.acquire_id == acquire_id(play.granted)
        await releasing
    finally:
        releasing.cancel()
    assert not lock.lost.is_set()


@pytest.mark.parametrize("token", [LATE, 0], ids=["held", "waiting"])
async def test_as_it_was(play: Play, token: int) -> None:
    with as_it_was(releases_were_sent_again, "release"):
        await test_what_was_written_late_is_cancelled(play, token)


def releases_were_sent_again(patch: pytest.MonkeyPatch) -> None:
    present = _snapshot._present  # noqa: SLF001 - what is to be broken lies inside

    def by_acquire_alone(ledger: Ledger, link: Link, claim: Claim, entry: session_pb2.Claim, now: float) -> None:
        if claim.state is ClaimState.RELEASING:
            ledger.send_again(claim, link)
        else:
            present(ledger, link, claim, entry, now)

    patch.setattr(_snapshot, "_present", by_acquire_alone)
