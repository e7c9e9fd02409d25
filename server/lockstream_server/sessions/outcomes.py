"""Awaiting what becomes of a proposal."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from lockstream_server.store.port import Outcome, Proposal, Store

RETRY_SECONDS = 1.0
"""Until what etcd did not take is tried again, where it has to be."""

T = TypeVar("T")


def settling(future: "asyncio.Future[T]") -> Callable[[T], None]:
    """A callback that gives the future its result, unless whoever awaited it is gone."""

    def settle(result: T) -> None:
        if not future.done():
            future.set_result(result)

    return settle


async def outcome_of(store: Store, proposal: Proposal) -> Outcome:
    """Send a proposal and wait for its outcome."""
    settled: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    store.propose(proposal, settling(settled))
    return await settled
