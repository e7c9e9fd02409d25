"""Group commit over an etcd that is full."""

import asyncio
from typing import Any

import grpc
import pytest
from etcd3 import etcdrpc

from lockstream_server.store.etcd.client import EtcdClient, EtcdOptions
from lockstream_server.store.etcd.commits import Commits
from lockstream_server.store.etcd.transactions import Transactions
from lockstream_server.store.keys import Keys
from lockstream_server.store.port import Attachment, DeleteEntry, Outcome, Proposal, PutEntry, Verdict
from tests.support.history import EXCLUSIVE

SESSION = Attachment(7, 3)


class FullEtcd(EtcdClient):
    """Takes a transaction only if nothing in it would write, as etcd 3.6 does while its NOSPACE alarm stands."""

    async def attempt(self, call: Any, request: Any) -> Any:  # noqa: ARG002 - every call is a transaction
        parts = [part.request_txn for part in request.success]
        if any(operation.HasField("request_put") for part in parts for operation in part.success):
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(),
                "etcdserver: mvcc: database space exceeded",
            )
        answer = etcdrpc.TxnResponse(header={"revision": 9})
        for _ in parts:
            nested = answer.responses.add().response_txn
            nested.succeeded = True
            nested.responses.add(response_delete_range={"deleted": 1})
        return answer


@pytest.fixture
async def commits() -> Any:
    client = FullEtcd(EtcdOptions(endpoints=["127.0.0.1:1"], transactions_in_flight=1))
    commits = Commits(client, Transactions(Keys(client.options.prefix)))
    yield commits
    await commits.close()
    await client.close()


async def test_out_of_space_releases_pass_and_acquires_are_told(commits: Commits) -> None:
    """Those which came together with acquires, and those which came after them."""
    outcomes: dict[str, Outcome] = {}
    told = asyncio.Event()

    def propose(name: str, proposal: Proposal) -> None:
        def settle(outcome: Outcome) -> None:
            outcomes[name] = outcome
            told.set()

        commits.propose(proposal, settle)

    async def until(count: int) -> None:
        while len(outcomes) < count:
            told.clear()
            await asyncio.wait_for(told.wait(), 5)

    for number in range(3):
        propose(f"acquire {number}", PutEntry(SESSION, f"a{number}", 0, EXCLUSIVE, only_if_free=False))
    propose("release", DeleteEntry(SESSION, "b", 0, 5))
    await until(4)
    assert outcomes.pop("release") == Outcome(Verdict.DELETED, 9)
    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.NO_SPACE}
    propose("another", DeleteEntry(SESSION, "a1", 0, 6))
    await until(4)
    assert outcomes["another"].verdict is Verdict.DELETED
