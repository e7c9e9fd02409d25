"""What callers state and no request can say: refused at once, as one kind of error, before anything is sent."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from google.protobuf.duration_pb2 import Duration

import lockstream
from lockstream._requests import say_duration

Call: TypeAlias = Callable[[lockstream.Client, Any], Awaitable[object]]

NO_TEXT = "\udcff"
"""What Python makes of a byte of a command line that is no UTF-8."""

TEXTS: dict[str, Call] = {
    "get_lock": lambda client, text: client.get_lock(text),
    "list_locks": lambda client, text: client.list_locks(text),
    "list_locks of a session": lambda client, text: client.list_locks(session_id=text),
    "check_token": lambda client, text: client.check_token(text, 7),
    "get_session": lambda client, text: client.get_session(text),
    "list_sessions": lambda client, text: client.list_sessions(client_name=text),
    "list_evictions": lambda client, text: client.list_evictions(text),
    "leader": lambda client, text: client.election(text).leader(),
    "force_release": lambda client, text: client.admin.force_release(text, token=7, reason="r", actor="a"),
    "force_release of any": lambda client, text: client.admin.force_release("a", any=True, reason=text, actor="a"),
    "end_session": lambda client, text: client.admin.end_session("a1", reason="r", actor=text),
}
TOKENS: dict[str, Call] = {
    "check_token": lambda client, token: client.check_token("a", token),
    "inspect_token": lambda client, token: client.inspect_token("a", token),
    "force_release": lambda client, token: client.admin.force_release("a", token=token, reason="r", actor="a"),
}


@pytest.fixture
async def client() -> AsyncIterator[lockstream.Client]:
    """A client with nobody to talk to."""
    async with lockstream.connect("127.0.0.1:1", connect_timeout=0.1) as client:
        yield client


@pytest.mark.parametrize("text", [NO_TEXT, 5])
@pytest.mark.parametrize("what", TEXTS)
async def test_what_is_no_text(client: lockstream.Client, what: str, text: object) -> None:
    with pytest.raises(lockstream.InvalidArgument, match=f"no request can say .*{re.escape(repr(text))}"):
        await TEXTS[what](client, text)


@pytest.mark.parametrize("token", [-1, 2**64, "7", 1.5])
@pytest.mark.parametrize("what", TOKENS)
async def test_what_is_no_token(client: lockstream.Client, what: str, token: object) -> None:
    with pytest.raises(lockstream.InvalidArgument, match=f"no request can say .*token={token!r}"):
        await TOKENS[what](client, token)


@pytest.mark.parametrize("text", [NO_TEXT, 5])
async def test_what_cannot_be_watched(client: lockstream.Client, text: str) -> None:
    with pytest.raises(lockstream.InvalidArgument, match="name="):
        client.watch_locks(text)
    with pytest.raises(lockstream.InvalidArgument, match="prefix="):
        client.watch_locks(prefix=text)
    with pytest.raises(lockstream.InvalidArgument, match="after_revision="):
        client.watch_locks(after_revision=2**64)


@pytest.mark.parametrize("option", ["ttl", "grace"])
@pytest.mark.parametrize("value", ["10", float("nan"), float("inf"), 1e12, -1])
async def test_what_no_session_can_last(client: lockstream.Client, option: str, value: float) -> None:
    with pytest.raises(lockstream.ConfigError, match=option):
        client.session(**{option: value})  # type: ignore[arg-type]  # which option it is does not matter


def test_a_duration_is_no_text() -> None:
    """Nor is it repeated a thousand million times to find that out."""
    tracemalloc.start()
    try:
        with pytest.raises(lockstream.InvalidArgument, match="max_hold is a number of seconds, not '3'"):
            say_duration(Duration(), "max_hold", "3")  # type: ignore[arg-type]  # as from a file of settings
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


async def test_the_longest_duration_can_be_said(client: lockstream.Client) -> None:
    """What is asked for is for the server to judge, as long as it can be sent."""
    with pytest.raises(lockstream.ServerUnavailable):
        await client.session(ttl=1e9, grace=1e9).open()


@pytest.mark.parametrize("metadata", [{"a": NO_TEXT}, {"a": 5}, 5])
async def test_what_is_no_label(client: lockstream.Client, metadata: dict[str, str]) -> None:
    with pytest.raises(lockstream.InvalidArgument, match="metadata"):
        client.session(metadata=metadata)


@pytest.mark.parametrize("option", ["connect_timeout", "backoff_min", "backoff_max"])
@pytest.mark.parametrize("value", ["1", None, 0, float("nan"), 1e10])
def test_for_how_long_nobody_can_wait(option: str, value: float) -> None:
    """A call that may take some hundred years would hang in gRPC."""
    with pytest.raises(lockstream.ConfigError, match=option):
        lockstream.connect(**{option: value})  # type: ignore[arg-type]  # which option it is does not matter
