"""With a recent etcd an idle server called itself unhealthy.

A server knows that its table is current because it asks the watch for its progress. It began its watch at the revision
after its snapshot, which is the natural thing to do, and lies in the future as long as nobody writes. Since 3.5.22 and
3.6.2 etcd tells no progress to such a watch. So on a quiet night every server took its watch for silent, began it anew
every four seconds, and reported NOT_SERVING in between.

It broke the promise that a server which can see etcd serves. Since then the watch begins at the revision that is known
already, and what it tells of that one is left out.
"""

import asyncio
from typing import Any

import pytest
from etcd3 import etcdrpc

from tests.contract.conftest import etcd_store, followed
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.conftest import AnEtcd
from tests.support.waiting import eventually


async def test_a_server_knows_that_it_is_current_though_nobody_writes(an_etcd: AnEtcd) -> None:
    store = etcd_store(an_etcd.process)
    async with followed(store):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await eventually(lambda: store.lag < loop.time() - begun, "known to be current since the snapshot", timeout=3)


async def test_as_it_was(an_etcd: AnEtcd) -> None:
    talkative = an_etcd.version < (3, 5, 22) or (3, 6) <= an_etcd.version < (3, 6, 2)
    with as_it_was(the_watch_began_in_the_future, "known to be current", harmless=talkative):
        await test_a_server_knows_that_it_is_current_though_nobody_writes(an_etcd)


def the_watch_began_in_the_future(patch: pytest.MonkeyPatch) -> None:
    create = etcdrpc.WatchCreateRequest

    def from_the_next_revision(*, start_revision: int, **fields: Any) -> Any:
        return create(start_revision=start_revision + 1, **fields)

    patch.setattr(etcdrpc, "WatchCreateRequest", from_the_next_revision)
