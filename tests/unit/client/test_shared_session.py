"""The client's own session, which is opened when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lockstream
import lockstream.sync

if TYPE_CHECKING:
    from lockstream.testing import LockstreamServer


async def test_whatever_is_held_by_the_client_is_held_in_one_session(lockstream_server: LockstreamServer) -> None:
    async with lockstream.connect(lockstream_server.target) as client:
        async with (
            client.lock("a") as lock,
            client.semaphore("b", 5, permits=2) as permits,
            client.lock_all(["c", "d"]) as several,
        ):
            assert lock.session is permits.session is several.session
            (session,) = await client.list_sessions()
            assert {name for claim in session.claims for name in claim.names} == {"a", "b", "c", "d"}
            (holder,) = (await client.get_lock("b", linearizable=True)).holders
            assert (holder.permits, holder.limit, holder.mode) == (2, 5, lockstream.Mode.PERMITS)
        assert await client.list_locks() == []
    assert isinstance(lock.session.ended, lockstream.WrongState)


def test_blocking_it_is_the_same(lockstream_server: LockstreamServer) -> None:
    with lockstream.sync.connect(lockstream_server.target) as client:
        with client.lock("a"), client.semaphore("b", 5, permits=2), client.lock_all(["c", "d"]) as several:
            assert several.names == ("c", "d")
            (session,) = client.list_sessions()
            assert {name for claim in session.claims for name in claim.names} == {"a", "b", "c", "d"}
        assert client.list_locks() == []
