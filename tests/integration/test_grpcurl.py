"""The service from a terminal, with grpcurl and no proto files."""

import json

import lockstream
from tests.support.grpcurl import SERVICE, TypedSession, grpcurl
from tests.support.server import ServerProcess
from tests.support.waiting import until_free


async def test_grpcurl_lists_the_services(server: ServerProcess) -> None:
    """V5."""
    services = (await grpcurl(server.target, "list")).splitlines()
    assert {SERVICE, "grpc.health.v1.Health"} <= set(services)
    methods = {line.removeprefix(f"{SERVICE}.") for line in (await grpcurl(server.target, "list", SERVICE)).split()}
    assert {"Session", "GetLock", "ListLocks", "CheckToken", "GetSession", "ListSessions"} <= methods


async def test_grpcurl_describes_a_message(server: ServerProcess) -> None:
    """V5."""
    described = await grpcurl(server.target, "describe", "lockstream.v1.Acquire")
    assert "uint64 acquire_id = 1" in described
    assert "oneof wait" in described


async def test_grpcurl_asks_after_the_health(server: ServerProcess) -> None:
    """V5."""
    answer = json.loads(await grpcurl(server.target, "grpc.health.v1.Health/Check"))
    assert answer == {"status": "SERVING"}


async def test_grpcurl_reads_a_lock(server: ServerProcess, client: lockstream.Client, name: str) -> None:
    """V5."""
    async with client.session() as session, session.lock(name) as lock:
        data = {"name": name, "linearizable": True}
        answer = json.loads(await grpcurl(server.target, f"{SERVICE}/GetLock", data=data))
        [entry] = answer["lock"]["entries"]
        assert (entry["session_id"], entry["token"]) == (session.id, str(lock.token))


async def test_a_session_typed_into_grpcurl_holds_and_releases_a_lock(
    server: ServerProcess, client: lockstream.Client, name: str
) -> None:
    """V5."""
    async with await TypedSession.start(server.target) as typed:
        await typed.type({"request_id": 1, "open": {"client_name": "a person"}})
        attached = (await typed.response())["reply"]["attached"]
        await typed.type({"request_id": 2, "acquire": {"acquire_id": 1, "name": name}})
        granted = (await typed.response())["reply"]["granted"]
        view = await client.get_lock(name, linearizable=True)
        assert [(entry.session_id, str(entry.token)) for entry in view.holders] == [
            (attached["session_id"], granted["token"])
        ]
        assert (await client.get_session(attached["session_id"])).client_name == "a person"
        await typed.type({"request_id": 3, "release": {"acquire_id": 1, "token": granted["token"]}})
        assert (await typed.response())["reply"] == {"request_id": "3", "released": {}}
        await until_free(client, name)
        await typed.type({"request_id": 4, "close": {}})
        assert (await typed.response())["reply"] == {"request_id": "4", "closed": {}}
        assert await typed.end() == 0


async def test_a_mistake_typed_into_grpcurl_is_answered_with_its_reason(server: ServerProcess) -> None:
    """V5."""
    async with await TypedSession.start(server.target) as typed:
        await typed.type({"request_id": 1, "acquire": {"acquire_id": 1, "name": "early"}})
        error = (await typed.response())["reply"]["error"]
        assert error["message"] == "open or resume a session first"
        assert [detail.get("reason") for detail in error["details"]] == ["WRONG_STATE"]
