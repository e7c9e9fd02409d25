"""Waiting until what an owner gave up of a name is gone, so that it can ask for it again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lockstream._errors import ServerUnavailable, WaitTimeout
from lockstream._standing import SETTLED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lockstream._keeper import Keeper


async def departed(keeper: Keeper, names: Iterable[str], owner: str, *, since: float, wait: float | None) -> float:
    """The moment, `since` or later, at which whatever the owner gave up of these names is gone.

    This is a part of that wait, which counts from `since`: WaitTimeout when it is over. For a try it may take as long
    as an answer, and no time without a server: ServerUnavailable.
    """
    ledger, now = keeper.ledger, since
    while (leaving := ledger.departures.first(names, owner)) is not None:
        ledger.check_try(wait)
        limit = None if wait is None else since + (wait or ledger.heartbeat_interval) - now
        gone, _ = await asyncio.wait((leaving.answer,), timeout=limit)
        if not gone and wait:
            raise WaitTimeout(f"lock {leaving.name!r} was not granted within {wait:g} s")
        if not gone:
            raise ServerUnavailable("the server did not answer in time", SETTLED)
        now = keeper.clock.time()
    return now
