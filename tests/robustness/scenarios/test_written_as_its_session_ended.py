"""An acquire was written in the very transaction that ended its session, and stayed.

A client asked for a lock and closed its session at once, while a server had more to write than one transaction takes.
The acquire waited behind another one of the same name, so the end of the session overtook it, and both then went
together: parts of a transaction all see the state before it, in which the session was there. The client was told that
everything was free, and the lock was taken, or awaited, by nobody until its TTL was over.

It broke the promise that a close frees everything. Since then nothing is sent for a session that has ended here.
"""

import asyncio

import pytest

from lockstream_server.store.etcd.commits import Commits
from lockstream_server.store.port import DeleteSession, Verdict
from tests.contract.conftest import etcd_store, followed
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.conftest import AnEtcd
from tests.support.stores import key


async def test_nothing_is_written_for_a_session_that_is_being_ended(an_etcd: AnEtcd) -> None:
    store = etcd_store(an_etcd.process, transactions_in_flight=1, transaction_proposals=2)
    async with followed(store) as subject:
        holder, closing = await subject.session(), await subject.session()
        puts = subject.send(*(subject.put(holder, name) for name in "ab"), subject.put(closing, "a"))
        closing.live = False
        [end] = subject.send(DeleteSession(closing))
        verdicts = [outcome.verdict for outcome in await asyncio.gather(*puts, end)]
        assert await subject.entries("a") == [key(holder)], "it is awaited by nobody"
        assert verdicts == [Verdict.GRANTED, Verdict.GRANTED, Verdict.UNKNOWN, Verdict.DELETED]


async def test_as_it_was(an_etcd: AnEtcd) -> None:
    with as_it_was(all_that_waited_was_sent, "it is awaited by nobody"):
        await test_nothing_is_written_for_a_session_that_is_being_ended(an_etcd)


def all_that_waited_was_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Commits, "_drop_given_up", lambda _, batch: list(batch))
