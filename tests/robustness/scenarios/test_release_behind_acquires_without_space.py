"""With etcd 3.6 out of space, releases waited behind acquires.

etcd 3.6 refuses a whole transaction in which anything is written while its NOSPACE alarm stands; 3.5 overlooks what is
nested in it. A server put releases and acquires into one transaction, took the refusal for an overload that would pass,
and repeated the whole: releases, which free space and would have been taken, waited for an operator to make room.

It broke the promise that a lock can always be given up. Since then what writes is told at once that there is no space,
and what only deletes goes alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lockstream_server.store.etcd import commits
from lockstream_server.store.port import Verdict
from tests.contract.conftest import etcd_store, followed
from tests.robustness.cluster.etcd_admin import EtcdAdmin
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.conftest import AnEtcd
from tests.support.stores import delete

PATIENCE = 2.0
"""Seconds after which a release has waited too long."""


@asynccontextmanager
async def out_of_space(etcd: AnEtcd) -> AsyncIterator[None]:
    admin = EtcdAdmin(etcd.process.endpoint)
    try:
        await admin.arm_no_space((await admin.status()).member_id)
        yield
    finally:
        await admin.disarm_no_space()
        await admin.close()


async def test_a_release_passes_an_acquire_that_finds_no_space(an_etcd: AnEtcd) -> None:
    async with followed(etcd_store(an_etcd.process, transactions_in_flight=1)) as subject:
        session = await subject.session()
        puts = await subject.propose(subject.put(session, "held"), subject.put(session, "held too"))
        release, release_too = (
            delete(session, name, token=put.revision) for name, put in zip(("held", "held too"), puts, strict=True)
        )
        async with out_of_space(an_etcd):
            *acquires, beside = subject.send(*(subject.put(session, name) for name in "abc"), release)
            [after] = subject.send(release_too)
            released, _ = await asyncio.wait([beside, after], timeout=PATIENCE)
            assert len(released) == 2, "releases wait behind acquires"
            assert [each.result().verdict for each in (beside, after)] == [Verdict.DELETED] * 2
            told = {(await acquire).verdict for acquire in acquires}
            assert told == {Verdict.GRANTED if overlooks_nested(an_etcd) else Verdict.NO_SPACE}


def overlooks_nested(etcd: AnEtcd) -> bool:
    """Whether it writes what is nested in a transaction, for all its alarm."""
    return etcd.version < (3, 6)


async def test_as_it_was(an_etcd: AnEtcd) -> None:
    with as_it_was(want_of_space_was_an_overload, "releases wait behind acquires", harmless=overlooks_nested(an_etcd)):
        await test_a_release_passes_an_acquire_that_finds_no_space(an_etcd)


def want_of_space_was_an_overload(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commits, "out_of_space", lambda _error: False)
