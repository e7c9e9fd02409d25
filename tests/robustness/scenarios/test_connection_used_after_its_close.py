"""A server that stopped used its connection to etcd after closing it.

While a server stops, streams of clients end and say their last to the store: that a session is over, that a key may go.
What was proposed so late was sent with the next turn of the event loop, over a channel that was closed by then. The
transaction failed with what looks like a defect, and the log of an orderly end had tracebacks in it.

It broke the promise that a server which is asked to stop does so in good order. Since then a store that is closed sends
nothing more; nobody is told what became of what waited.
"""

# ruff: noqa: SLF001 - what was broken lies inside

import asyncio
import logging

import pytest

from lockstream_server.store.etcd import EtcdOptions, EtcdStore
from lockstream_server.store.etcd.commits import Commits
from lockstream_server.store.port import Attachment, DeleteSession, Outcome
from tests.robustness.scenarios.as_it_was import as_it_was

TURNS = 20
"""Of the event loop, more than a transaction over a closed channel takes to fail."""


async def test_what_is_proposed_to_a_closed_store_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    store = EtcdStore(EtcdOptions(endpoints=["127.0.0.1:1"]))
    await store.close()
    told: list[Outcome] = []
    store.propose(DeleteSession(Attachment(1, 1)), told.append)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    failures = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not failures, f"its log has tracebacks: {failures}"
    assert not told


async def test_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    with as_it_was(a_closed_store_went_on, "its log has tracebacks.*a commit failed unexpectedly"):
        await test_what_is_proposed_to_a_closed_store_is_not_sent(caplog)


def a_closed_store_went_on(patch: pytest.MonkeyPatch) -> None:
    flush = Commits._flush

    def flush_closed_or_not(self: Commits) -> None:
        self._closed = False
        flush(self)

    patch.setattr(Commits, "_flush", flush_closed_or_not)
