"""Where leases are renewed, what is asked again when that changes, and whom an answer is for."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from etcd3 import etcdrpc

from lockstream_server.store.etcd import client as client_module
from lockstream_server.store.etcd.client import RETRY_SECONDS, EtcdClient, EtcdOptions
from lockstream_server.store.etcd.leases import ASKERS, LEADER_SECONDS, STREAMS, KeepAlives
from tests.support.virtual_time import VirtualTimeLoop

REQUEST_TIMEOUT = EtcdOptions(endpoints=["any"]).request_timeout
FAILOVER_SECONDS = REQUEST_TIMEOUT + 2 * RETRY_SECONDS
"""By then a stream whose member falls silent has asked another."""
LEASE = 7


def error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


class Stream:
    """A LeaseKeepAlive stream, seen from both sides."""

    def __init__(self, member: "Member") -> None:
        self._member = member
        self._answers: asyncio.Queue[Any] = asyncio.Queue()

    async def write(self, request: Any) -> None:
        self._member.asked.append(request.ID)
        if self._member.answers and self._member.reachable:
            self.answer(request.ID)

    async def read(self) -> Any:
        answer = await self._answers.get()
        if isinstance(answer, grpc.aio.AioRpcError):
            raise answer
        return answer

    def answer(self, lease: int) -> None:
        self._answers.put_nowait(etcdrpc.LeaseKeepAliveResponse(ID=lease, TTL=10))

    def end(self, code: grpc.StatusCode) -> None:
        self._answers.put_nowait(error(code))

    def cancel(self) -> None:
        """Whoever reads has ended already."""


class Member:
    """A member of etcd, in the place of the connection to it."""

    def __init__(self, number: int) -> None:
        self.endpoint = str(number)
        self.number = self.leader = number
        self.reachable = True
        self.answers = True
        """Whether it answers renewals, if it can be reached."""
        self.asked: list[int] = []
        self.streams: list[Stream] = []

    async def status(self, request: Any, *, metadata: Any, timeout: float) -> Any:  # noqa: ARG002, ASYNC109
        if not self.reachable:
            await asyncio.sleep(timeout)
            raise error(grpc.StatusCode.DEADLINE_EXCEEDED)
        return etcdrpc.StatusResponse(header={"member_id": self.number}, leader=self.leader)

    async def authenticate(self, request: Any, *, timeout: float) -> Any:  # noqa: ARG002, ASYNC109
        return etcdrpc.AuthenticateResponse(token=self.endpoint)

    def lease_keep_alive(self, *, metadata: Any) -> Stream:  # noqa: ARG002
        self.streams.append(Stream(self))
        return self.streams[-1]


class Etcd:
    """Two members, of which the first leads, and a server's client of them, which begins at the first."""

    def __init__(self, loop: VirtualTimeLoop, members: list[Member]) -> None:
        self.loop = loop
        self.members = members
        self.client: Any = EtcdClient(EtcdOptions(endpoints=[member.endpoint for member in members], user="somebody"))
        self.keepalives = KeepAlives(self.client)

    def lead(self, leader: Member) -> None:
        """Everybody knows from now on who leads."""
        for member in self.members:
            member.leader = leader.number

    def renew(self, lease: int = LEASE) -> asyncio.Future[float]:
        """Ask for a renewal; it comes true with the moment at which it was confirmed."""
        confirmed: asyncio.Future[float] = self.loop.create_future()
        self.keepalives.renew(lease, lambda _: confirmed.set_result(self.loop.time()))
        return confirmed


@pytest.fixture
def etcd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Etcd]:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        members = {str(number): Member(number) for number in (1, 2)}
        monkeypatch.setattr(client_module, "Connection", lambda endpoint, _: members[endpoint])
        etcd = Etcd(loop, [*members.values()])
        running = loop.create_task(etcd.keepalives.run())
        etcd.lead(etcd.members[0])
        loop.settle()
        yield etcd
        assert not running.done()


def test_a_leader_out_of_reach_costs_one_silence_however_long_it_lasts(etcd: Etcd) -> None:
    follower, leader = etcd.members
    etcd.lead(leader)
    etcd.loop.advance(LEADER_SECONDS)
    etcd.loop.run_until_complete(etcd.renew())
    assert (follower.asked, leader.asked) == ([], [LEASE])
    leader.reachable = False
    cut_at, late = etcd.loop.time(), []
    while etcd.loop.time() < cut_at + 120:
        asked_at = etcd.loop.time()
        confirmed = etcd.renew()
        etcd.loop.advance(2 / 3)
        if not confirmed.done():
            late.append(asked_at)
            assert etcd.loop.run_until_complete(confirmed) - asked_at < FAILOVER_SECONDS
    assert late == [cut_at]
    leader.reachable = True
    etcd.loop.advance(LEADER_SECONDS + REQUEST_TIMEOUT)
    before = len(follower.asked)
    etcd.loop.run_until_complete(etcd.renew())
    assert len(follower.asked) == before, "renewals are back at the leader"


def test_nobody_is_the_leader_who_does_not_say_so(etcd: Etcd) -> None:
    current, other = etcd.members
    current.leader, other.leader = other.number, current.number
    assert etcd.loop.run_until_complete(etcd.client.leader()) is None
    etcd.lead(other)
    assert etcd.loop.run_until_complete(etcd.client.leader()) is other


def test_streams_that_break_while_idle_say_so_at_once_and_not_when_all_is_well_again(etcd: Etcd) -> None:
    leader, follower = etcd.members
    etcd.loop.run_until_complete(asyncio.gather(*map(etcd.renew, range(STREAMS))))
    for stream in leader.streams:
        stream.end(grpc.StatusCode.UNAVAILABLE)
    etcd.loop.settle()
    assert etcd.client.connection is follower
    etcd.loop.advance(LEADER_SECONDS + REQUEST_TIMEOUT)
    etcd.loop.run_until_complete(asyncio.gather(*map(etcd.renew, range(STREAMS))))
    assert (len(leader.asked), follower.asked) == (2 * STREAMS, [])


def test_an_old_token_says_nothing_against_who_refused_it(etcd: Etcd) -> None:
    leader, follower = etcd.members
    leader.answers = False
    confirmed = etcd.renew()
    etcd.loop.settle()
    leader.answers = True
    leader.streams[-1].end(grpc.StatusCode.UNAUTHENTICATED)
    etcd.loop.run_until_complete(confirmed)
    assert etcd.client.connection is leader
    assert (leader.asked, follower.asked) == ([LEASE, LEASE], [])


def test_what_is_unanswered_when_the_leader_changes_is_asked_again_at_the_new_one(etcd: Etcd) -> None:
    before, after = etcd.members
    before.answers = False
    etcd.loop.advance(LEADER_SECONDS / 2)
    confirmed = etcd.renew()
    etcd.loop.settle()
    etcd.lead(after)
    asked_at = etcd.loop.time()
    assert etcd.loop.run_until_complete(confirmed) - asked_at < LEADER_SECONDS / 2 + RETRY_SECONDS
    assert (before.asked, after.asked) == ([LEASE], [LEASE])
    assert etcd.client.connection is before, "nothing has failed"


def test_an_answer_is_only_for_those_who_asked_before_its_request_was_sent(etcd: Etcd) -> None:
    [member, _] = etcd.members
    member.answers = False
    first = etcd.renew()
    etcd.loop.settle()
    second = etcd.renew()
    [stream] = member.streams
    stream.answer(LEASE)
    etcd.loop.settle()
    assert first.done()
    assert not second.done()
    assert member.asked == [LEASE, LEASE]
    stream.answer(LEASE)
    etcd.loop.settle()
    assert second.done()


def test_after_an_outage_those_who_asked_last_come_first(etcd: Etcd) -> None:
    for member in etcd.members:
        member.reachable = False
    given_up, alive = LEASE, LEASE + STREAMS
    for lease in (given_up, alive, given_up, alive):
        etcd.renew(lease)
        etcd.loop.settle()
    for member in etcd.members:
        member.asked.clear()
        member.reachable = True
    etcd.loop.advance(FAILOVER_SECONDS)
    assert [lease for member in etcd.members for lease in member.asked] == [alive, given_up]


def test_what_an_outage_leaves_behind_for_a_lease_is_bounded(etcd: Etcd) -> None:
    for member in etcd.members:
        member.reachable = False
    asked = []
    for _ in range(10 * ASKERS):
        asked.append(etcd.renew())
        etcd.loop.advance(REQUEST_TIMEOUT / 10)
    for member in etcd.members:
        member.reachable = True
    etcd.loop.advance(FAILOVER_SECONDS)
    assert [confirmed.done() for confirmed in asked] == [False] * 9 * ASKERS + [True] * ASKERS
