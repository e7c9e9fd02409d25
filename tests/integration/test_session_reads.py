"""The unary calls about sessions, through plain generated stubs."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.rpc import code_pb2, error_details_pb2

import lockstream.sync
from lockstream.v1 import lock_pb2, service_pb2, service_pb2_grpc
from tests.support.processes import wait_until
from tests.support.refusals import assert_invalid, refusal
from tests.support.server import ServerProcess

Stub = service_pb2_grpc.LockServiceStub
TIMEOUT_SECONDS = 10.0
NOT_A_SESSION = "0123456789abcdef"


def test_a_session_shows_what_it_is_and_has(
    grpc_stub: Stub,
    server: ServerProcess,
    sync_session: lockstream.sync.Session,
    in_background: Callable[..., Future[Any]],
    name: str,
) -> None:
    held = sync_session.acquire(name, owner="holder")
    waiting = in_background(sync_session.acquire, name, owner="waiter", shared=True)
    request = service_pb2.GetSessionRequest(session_id=sync_session.id)
    wait_until(
        lambda: len(grpc_stub.GetSession(request).session.claims) == 2,
        timeout=TIMEOUT_SECONDS,
        what="the server has folded both",
    )
    reply = grpc_stub.GetSession(request)
    shown = reply.session
    assert shown.session_id == sync_session.id
    assert (shown.client_name, dict(shown.metadata)) == ("reader-test", {"zone": "a"})
    assert (shown.ttl.ToSeconds(), shown.detach_grace.ToSeconds()) == (30, 5)
    assert (shown.server, shown.generation) == (server.name, 1)
    assert timedelta() <= datetime.now(UTC) - shown.opened_at.ToDatetime(tzinfo=UTC) < timedelta(seconds=30)
    holder, waiter = sorted(shown.claims, key=lambda claim: claim.position)
    assert (holder.name, holder.owner, holder.token) == (name, "holder", held.token)
    assert (holder.mode, holder.state) == (lock_pb2.MODE_EXCLUSIVE, lock_pb2.ENTRY_STATE_HELD)
    assert (waiter.name, waiter.owner, waiter.position) == (name, "waiter", 1)
    assert (waiter.mode, waiter.state) == (lock_pb2.MODE_SHARED, lock_pb2.ENTRY_STATE_WAITING)
    assert reply.revision >= waiter.token
    held.release()
    assert waiting.result(TIMEOUT_SECONDS).held


def test_every_server_shows_the_sessions_of_all(two_servers: Sequence[ServerProcess], grpc_stub: Stub) -> None:
    with lockstream.sync.connect(two_servers[1].target) as client, client.session() as elsewhere:
        request = service_pb2.GetSessionRequest(session_id=elsewhere.id)
        wait_until(
            lambda: elsewhere.id in _session_ids(grpc_stub, 1000),
            timeout=TIMEOUT_SECONDS,
            what="the server has folded the session",
        )
        assert grpc_stub.GetSession(request).session.server == two_servers[1].name
    wait_until(
        lambda: elsewhere.id not in _session_ids(grpc_stub, 1000),
        timeout=TIMEOUT_SECONDS,
        what="the server has folded its end",
    )
    assert refusal(lambda: grpc_stub.GetSession(request)).code == code_pb2.NOT_FOUND


def test_a_session_that_is_not_there_is_not_found(grpc_stub: Stub) -> None:
    status = refusal(lambda: grpc_stub.GetSession(service_pb2.GetSessionRequest(session_id=NOT_A_SESSION)))
    assert status.code == code_pb2.NOT_FOUND
    assert NOT_A_SESSION in status.message
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "NOT_FOUND"


@pytest.mark.parametrize(
    "bad", ["", "abc", "0" * 17, "g" * 16, "-123456789abcdef", "0x23456789abcdef", "0123456789ABCDEF", "é" * 16]
)
def test_a_session_id_that_is_none_is_refused(grpc_stub: Stub, bad: str) -> None:
    request = service_pb2.GetSessionRequest(session_id=bad)
    assert_invalid(refusal(lambda: grpc_stub.GetSession(request)), "session_id")


def test_sessions_are_listed_page_by_page(grpc_stub: Stub, sync_client: lockstream.sync.Client) -> None:
    sessions = [sync_client.session() for _ in range(7)]
    for each in sessions:
        each.open()
    mine = {each.id for each in sessions}
    wait_until(
        lambda: mine <= set(_session_ids(grpc_stub, 1000)),
        timeout=TIMEOUT_SECONDS,
        what="the server has folded them all",
    )
    listed = _session_ids(grpc_stub, 3)
    assert mine <= set(listed)
    assert listed == sorted(set(listed))


def _session_ids(stub: Stub, page_size: int) -> list[str]:
    """The ids of all sessions, in the order of the listing; the pages are full but for the last."""
    request = service_pb2.ListSessionsRequest(page_size=page_size)
    ids: list[str] = []
    while True:
        reply = stub.ListSessions(request)
        ids += (listed.session_id for listed in reply.sessions)
        request.page_token = reply.next_page_token
        if not request.page_token:
            return ids
        assert len(reply.sessions) == page_size


def test_a_page_of_sessions_of_a_negative_size_is_refused(grpc_stub: Stub) -> None:
    request = service_pb2.ListSessionsRequest(page_size=-1)
    assert_invalid(refusal(lambda: grpc_stub.ListSessions(request)), "page_size")


@pytest.mark.parametrize("bad", ["0", "next", "é"])
def test_a_page_token_that_the_service_did_not_give_is_refused(grpc_stub: Stub, bad: str) -> None:
    request = service_pb2.ListSessionsRequest(page_token=bad)
    assert_invalid(refusal(lambda: grpc_stub.ListSessions(request)), "page_token")
