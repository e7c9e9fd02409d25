"""The ledger's decisions, with the time as an argument and no stream."""

from __future__ import annotations

import asyncio

import pytest

import lockstream
from lockstream import LossReason, _frames
from lockstream._asks import Ask
from lockstream._claims import Claim, ClaimState
from lockstream._ledger import Ledger
from lockstream._link import MAX_FRAME_REQUESTS, Link
from lockstream._reasons import LossNotice
from lockstream.v1 import session_pb2

TTL = 9


class Desk:
    """A ledger that was attached at 100 with a TTL of 9 s, and its link."""

    def __init__(self, grace: float = TTL) -> None:
        self.changes = 0
        self.ledger = Ledger(session_pb2.Open(), new_future=self.future, on_change=self.changed)
        self.link = self.greet(100)
        self.attach(self.link, 101, grace)

    @staticmethod
    def future() -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def changed(self) -> None:
        self.changes += 1

    def greet(self, now: float) -> Link:
        link = Link(self.future())
        self.ledger.greet(link, now)
        link.take()
        return link

    def attach(self, link: Link, now: float, grace: float = TTL) -> None:
        attached = session_pb2.Attached(session_id="a1", resume_token="s")  # noqa: S106 - nothing is guarded by it
        for duration in (attached.ttl, attached.remaining):
            duration.FromSeconds(TTL)
        attached.detach_grace.FromNanoseconds(int(grace * 1e9))
        self.read(session_pb2.Response(reply=session_pb2.Reply(attached=attached)), now, link)

    def read(self, response: session_pb2.Response, now: float, link: Link | None = None) -> None:
        frame = session_pb2.SessionResponse(responses=[response])
        _frames.read(self.ledger, link or self.link, frame, now)

    def grant(self, claim: Claim, now: float) -> None:
        granted = session_pb2.Granted(acquire_id=claim.acquire_id, token=5)
        self.read(session_pb2.Response(event=session_pb2.Event(granted=granted)), now)

    def acquire(self, now: float, wait: float | None = None) -> Claim:
        return self.ledger.acquire(Ask(("a",), "me"), now, wait=wait)

    def sent(self) -> list[str | None]:
        actions: list[str | None] = []
        while (frame := self.link.take()) is not None:
            actions += [request.WhichOneof("action") for request in frame.requests]
        return actions


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_the_deadline_counts_from_the_sending_of_the_greeting(desk: Desk) -> None:
    assert desk.ledger.deadline == 100 + TTL


async def test_a_proof_counts_from_the_sending_of_the_heartbeat(desk: Desk) -> None:
    desk.ledger.tick(103)
    assert desk.sent() == ["heartbeat"]
    proof = session_pb2.Proof()
    proof.remaining.FromSeconds(TTL)
    desk.read(session_pb2.Response(reply=session_pb2.Reply(proof=proof)), 105)
    assert desk.ledger.deadline == 103 + TTL
    assert desk.ledger.due() == 106


async def test_a_silent_stream_is_left_after_a_third_of_the_ttl(desk: Desk) -> None:
    desk.ledger.tick(103)
    desk.ledger.tick(105.9)
    assert desk.ledger.link is not None
    desk.ledger.tick(106)
    assert desk.ledger.link is None
    assert desk.changes == 1


async def test_a_grant_read_after_the_deadline_is_none(desk: Desk) -> None:
    claim = desk.acquire(101)
    desk.grant(claim, 109)
    assert isinstance(claim.answer.exception(), lockstream.SessionExpired)
    assert isinstance(desk.ledger.ended, lockstream.SessionExpired)


async def test_a_grant_handed_out_after_the_deadline_is_none(desk: Desk) -> None:
    """The event loop was blocked between the reading of the grant and the caller's waking."""
    claim = desk.acquire(101)
    desk.grant(claim, 102)
    assert claim.answer.result() is None
    with pytest.raises(lockstream.LockLost):
        desk.ledger.confirm(claim, 109)
    assert claim.hold.loss == LossNotice(LossReason.UNPROVEN)


@pytest.mark.parametrize(("grace", "lost_at"), [(TTL, 109), (2.5, 104.5), (0, 102)])
async def test_a_lock_is_believed_in_no_longer_than_the_grace_after_a_break(grace: float, lost_at: float) -> None:
    """The server frees the session once its grace is over, though the lease was proven for longer."""
    desk = Desk(grace)
    claim = desk.acquire(101)
    desk.grant(claim, 101.5)
    desk.ledger.drop(desk.link, 102, answered=True)
    assert desk.ledger.due() == lost_at
    desk.ledger.tick(lost_at)
    assert claim.hold.loss == LossNotice(LossReason.UNPROVEN)


async def test_a_stream_that_fell_silent_counts_as_broken_since_its_last_heartbeat() -> None:
    desk = Desk(grace=3.5)
    desk.ledger.tick(103)
    desk.ledger.tick(106)
    assert desk.ledger.link is None
    assert desk.ledger.due() == 106.5


async def test_nothing_is_asked_for_after_the_deadline(desk: Desk) -> None:
    with pytest.raises(lockstream.SessionExpired):
        desk.acquire(109)


async def test_a_wait_that_ends_while_detached_is_a_timeout(desk: Desk) -> None:
    claim = desk.acquire(101, wait=2)
    desk.ledger.drop(desk.link, 102, answered=True)
    assert desk.ledger.due() == 103
    answer = claim.answer
    desk.ledger.tick(103)
    assert isinstance(answer.exception(), lockstream.WaitTimeout)
    assert claim.state is ClaimState.LEAVING


async def test_a_resume_of_our_own_that_arrives_late_does_not_end_the_session(desk: Desk) -> None:
    """A frozen server takes the session up after this client went elsewhere."""
    desk.ledger.drop(desk.link, 101, answered=True)
    desk.ledger.drop(desk.greet(102), 103, answered=False)
    desk.link = desk.greet(103)
    desk.attach(desk.link, 104)
    desk.ledger.supersede(lockstream.Superseded("by ourselves"), 104.5)
    assert desk.ledger.ended is None
    assert desk.ledger.link is None
    desk.link = desk.greet(105)
    desk.attach(desk.link, 106)
    desk.ledger.supersede(lockstream.Superseded("by another"), 106.5)
    assert isinstance(desk.ledger.ended, lockstream.Superseded)


async def test_each_late_resume_of_our_own_is_told_from_another(desk: Desk) -> None:
    """As many servers were frozen as were tried in vain."""
    desk.ledger.drop(desk.link, 101, answered=True)
    for now in (102, 103):
        desk.ledger.drop(desk.greet(now), now + 1, answered=False)
    for now in (104, 105):
        desk.attach(desk.greet(now), now)
        desk.ledger.supersede(lockstream.Superseded("by ourselves"), now + 0.5)
        assert desk.ledger.ended is None
    desk.attach(desk.greet(106), 106)
    desk.ledger.supersede(lockstream.Superseded("by another"), 106.5)
    assert isinstance(desk.ledger.ended, lockstream.Superseded)


async def test_a_late_resume_of_our_own_begins_the_grace() -> None:
    """It is for a stream that is gone: the server which took the session up frees it after the grace."""
    desk = Desk(grace=1)
    desk.ledger.drop(desk.link, 101, answered=True)
    desk.ledger.drop(desk.greet(101.1), 101.5, answered=False)
    desk.link = desk.greet(101.6)
    desk.attach(desk.link, 101.7)
    trying = desk.acquire(102, wait=0)
    answer = trying.answer
    desk.ledger.supersede(lockstream.Superseded("by ourselves"), 102.5)
    assert isinstance(answer.exception(), lockstream.ServerUnavailable), "it does not wait for another stream"
    assert desk.ledger.due() == 103.5


async def test_a_resume_that_broke_after_it_superseded_the_stream_begins_the_grace() -> None:
    """While a server drains: the next one took the session up, and then was gone before it said so."""
    desk = Desk(grace=1)
    desk.ledger.drain()
    trying = desk.acquire(101, wait=0)
    answer = trying.answer
    taken_up = desk.greet(101.5)
    desk.ledger.supersede(lockstream.Superseded("by ourselves"), 102)
    assert desk.ledger.link is None
    assert desk.ledger.due() == 109, "the lease is as it was while the next stream works"
    changes = desk.changes
    desk.ledger.drop(taken_up, 102.2, answered=False)
    assert desk.ledger.due() == 102.5
    assert desk.changes > changes, "the timer is set anew"
    assert isinstance(answer.exception(), lockstream.ServerUnavailable)


async def test_requests_are_bundled_up_to_the_bound(desk: Desk) -> None:
    for number in range(MAX_FRAME_REQUESTS + 1):
        desk.ledger.acquire(Ask((f"lock {number}",), "me"), 101, wait=None)
    frames = [desk.link.take(), desk.link.take()]
    assert [len(frame.requests) for frame in frames if frame] == [MAX_FRAME_REQUESTS, 1]
    assert desk.link.take() is None


async def test_the_repr_tells_the_standing(desk: Desk) -> None:
    desk.grant(desk.acquire(101), 102)
    desk.acquire(102)
    assert repr(desk.ledger) == "<Ledger a1 attached asked=1 held=1>"


async def test_what_is_proven_again_is_asked_for_at_once() -> None:
    """The last heartbeat was answered in jeopardy, with little; by the next one it would have run out."""
    desk = Desk()
    desk.ledger.tick(104)
    assert [request.WhichOneof("action") for request in taken(desk.link)] == ["heartbeat"]
    proof = session_pb2.Proof()
    proof.remaining.FromMilliseconds(1500)
    desk.read(session_pb2.Response(event=session_pb2.Event(jeopardy=proof)), 104)
    desk.read(session_pb2.Response(reply=session_pb2.Reply(proof=proof)), 104)
    assert desk.ledger.in_jeopardy
    proof.remaining.FromSeconds(TTL)
    desk.read(session_pb2.Response(event=session_pb2.Event(safe=proof)), 105)
    assert not desk.ledger.in_jeopardy
    assert [request.WhichOneof("action") for request in taken(desk.link)] == ["heartbeat"]
    desk.read(session_pb2.Response(reply=session_pb2.Reply(proof=proof)), 105.1)
    assert desk.ledger.deadline == 105 + TTL


def taken(link: Link) -> list[session_pb2.Request]:
    """What the link has to say."""
    frame = link.take()
    return [*frame.requests] if frame is not None else []
