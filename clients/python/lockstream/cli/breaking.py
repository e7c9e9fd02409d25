"""`lockstream break` and `end-session`: what operators do to other people's locks."""

from __future__ import annotations

import getpass
import os
import socket
from typing import TYPE_CHECKING

from lockstream import connect
from lockstream.cli.output import print_json, print_line

if TYPE_CHECKING:
    from lockstream import EvictionView


async def break_lock(servers: str, name: str, *, token: int | None, reason: str, actor: str, as_json: bool) -> None:
    """Take a lock away from the hold with this token, or from all who hold it, and print who that was."""
    async with connect(servers) as client:
        evictions = await client.admin.force_release(name, token=token, any=token is None, reason=reason, actor=actor)
    if as_json:
        print_json(evictions)
        return
    for eviction in evictions:
        print_line(f"{name} was taken from {_whose(eviction)}, token {eviction.token}")


async def end_session(servers: str, session_id: str, *, reason: str, actor: str, as_json: bool) -> None:
    """End a session, and print the record of it."""
    async with connect(servers) as client:
        eviction = await client.admin.end_session(session_id, reason=reason, actor=actor)
    if as_json:
        print_json(eviction)
    else:
        print_line(f"session {session_id} was ended")


def this_user() -> str:
    """Who runs this program, as `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _whose(eviction: EvictionView) -> str:
    return f"session {eviction.session_id}" if eviction.session_id else "something that is no Lockstream client"
