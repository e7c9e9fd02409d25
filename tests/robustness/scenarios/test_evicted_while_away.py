"""A client that was away when it was evicted was told LEASE_EXPIRED.

The link of a holder broke; an operator broke the lock in the meantime, and said why. When the client was back, its lock
was missing from what the greeting told of its session. The client library could only guess that its lease had ended,
which is a reason to look at the network, while somebody had stated the real one.

It broke the promise that a loss is reported with its reason, by whom and why. Since then the greeting also tells what
was evicted from the session, from the records that evictions leave in etcd.
"""

import pytest

import lockstream
from lockstream_server.app import Server
from lockstream_server.sessions import evictions
from lockstream_server.sessions.operator import Operator
from lockstream_server.settings import Settings
from lockstream_server.store.memory import MemoryStore
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.support.proxy import Proxy

WHY, WHO = "it has hung since Tuesday", "ada@example.org"


async def test_a_client_that_was_away_is_told_who_broke_its_lock() -> None:
    store = MemoryStore()
    server = Server(store, Settings(server_name="here"))
    [address] = await server.start(["127.0.0.1:0"])
    try:
        async with (
            Proxy(int(address.rpartition(":")[2])) as link,
            lockstream.connect(link.target) as client,
            client.session() as session,
        ):
            lock = await session.acquire("a")
            await link.cut(refuse=True)
            await Operator(server.registry.host, WHY, WHO).force_release("a", lock.token)
            link.heal()
            reason = await lock.lost.wait()
            assert reason is lockstream.LossReason.FORCE_RELEASED, f"{WHO} broke the lock, but it is told {reason}"
            with pytest.raises(lockstream.LockLost, match=f"by {WHO}: {WHY}"):
                lock.check()
    finally:
        await server.stop()
        await store.close()


async def test_as_it_was() -> None:
    with as_it_was(the_greeting_did_not_tell_of_evictions, "told.*LEASE_EXPIRED"):
        await test_a_client_that_was_away_is_told_who_broke_its_lock()


def the_greeting_did_not_tell_of_evictions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evictions, "of_session", lambda _table, _session: [])
