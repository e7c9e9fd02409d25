"""Hundreds of keys that others write under our prefix, in a real etcd, while clients hold, wait and look."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lockstream.sync
from lockstream_server.store.keys import range_end
from tests.fuzzing.keys import WRITES, Write
from tests.fuzzing.site import PREFIX, PROMPT, Site, bystanders
from tests.support.processes import wait_until

WRITES_AT_LEAST = 300


@pytest.fixture
def clean(site: Site) -> Iterator[Site]:
    """What others wrote is deleted afterwards, as only they could."""
    yield site
    start = PREFIX.encode()
    site.delete(start, range_end(start))


def look(client: lockstream.sync.Client) -> int:
    """Ask for everything that can be asked for; how much of it there is."""
    locks: list[lockstream.LockView] = []

    def agrees() -> bool:
        locks[:] = client.list_locks()
        with client.watch_locks(prefix="") as watch:
            snapshot = next(iter(watch))
        assert isinstance(snapshot, lockstream.LocksSnapshot)
        return {lock.name for lock in snapshot.locks} == {lock.name for lock in locks}

    # In between a server may free what is written as an entry of a session that is over.
    wait_until(agrees, timeout=PROMPT, what="a list and a watch show the same")
    for lock in locks:
        assert client.get_lock(lock.name, linearizable=True).name == lock.name
    return len(locks) + len(client.list_sessions()) + len(client.list_evictions())


def test_foreign_keys_disturb_nobody(clean: Site) -> None:
    """Neither as they come nor as a server finds them that has just been started."""
    site = clean
    written: Counter[bytes] = Counter()
    with bystanders(site) as those, lockstream.sync.connect(site.server.target) as client:

        @given(st.lists(WRITES, min_size=6, max_size=12))
        def write(writes: list[Write]) -> None:
            for key, value in writes:
                whole = PREFIX.encode() + key
                if value is None:
                    site.delete(whole)
                else:
                    site.put(whole, value)
                    written[whole] += 1
            look(client)
            site.check_log()
            those.check()

        write()
        assert written.total() >= WRITES_AT_LEAST
        site.server.restart()
        those.resumed()
        those.check()
        assert look(client)
        for key in written:
            site.delete(key)
