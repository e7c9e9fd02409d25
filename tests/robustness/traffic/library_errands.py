"""What only the Python library offers: elections, re-entry, reads, an operator's means, and watches."""

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import suppress

import lockstream
from tests.robustness.history import Observed, Part, now
from tests.robustness.traffic import names
from tests.robustness.traffic.errands import ERRANDS, Errand, Worker
from tests.robustness.traffic.library import LibraryHold, LibrarySession, refusals
from tests.robustness.traffic.recorded import Ledger, RecordedHold
from tests.robustness.traffic.sessions import Ask
from tests.robustness.validate.reads import NOT_HELD

_watches = itertools.count(1)


class LibraryErrands:
    """The errands of a client process that uses the library."""

    def __init__(self, client: lockstream.Client, ledger: Ledger) -> None:
        self._client = client
        self._ledger = ledger

    def all(self) -> Mapping[Errand, int]:
        """Those of every client, and these."""
        return {**ERRANDS, self.campaign: 4, self.again: 3, self.check: 6, self.break_open: 1}

    async def campaign(self, worker: Worker) -> None:
        """Lead for a while, and say so."""
        session = worker.session.inner
        assert isinstance(session, LibrarySession)
        election = self._client.election(names.ELECTION, session=session.library)
        parts, wait = (Part(names.ELECTION),), worker.rng.uniform(0.1, 2.0)
        with refusals():
            campaign = election.campaign(b"candidate", wait=wait, cancel_on_loss=False)
            with self._ledger.operation("campaign", session=session.id, parts=parts, wait=wait) as answer, refusals():
                leadership = await campaign.__aenter__()
                answer.token = leadership.token
                hold = RecordedHold(
                    worker.session, LibraryHold(leadership.lock), Ask(parts=parts, owner=leadership.lock.owner)
                )
                hold.believe(parts)
            try:
                await leadership.proclaim(b"leader")
                await worker.work(hold)
            finally:
                hold.resign()
                with self._ledger.operation("resign", session=session.id, parts=parts), refusals():
                    await campaign.__aexit__(None, None, None)

    async def again(self, worker: Worker) -> None:
        """Enter a lock more than once."""
        session = worker.session.inner
        assert isinstance(session, LibrarySession)
        ask = worker.ask(Part(names.any_name(worker.rng)), wait=2.0, reentrant=True)
        async with worker.holding(ask) as hold:
            with refusals():
                inner = await session.library.acquire(hold.names[0], owner=worker.owner, reentrant=True)
                await worker.work(hold)
                await inner.release()
            await worker.work(hold)

    async def check(self, worker: Worker) -> None:
        """Ask whether a token holds, while it should."""
        async with worker.holding(worker.ask(Part(names.any_name(worker.rng)))) as hold:
            parts = (Part(hold.names[0]),)
            with self._ledger.operation("check_token", parts=parts, token=hold.token) as answer, refusals():
                held = await self._client.check_token(hold.names[0], hold.token)
                answer.reason = "held" if held else NOT_HELD

    async def break_open(self, worker: Worker) -> None:
        """Take a lock away from whoever holds it, as an operator."""
        parts = (Part(names.BROKEN),)
        with refusals():
            holders = (await self._client.get_lock(names.BROKEN)).holders
        for holder in holders:
            with self._ledger.operation("force_release", parts=parts, token=holder.token), refusals():
                await self._client.admin.force_release(
                    names.BROKEN, token=holder.token, reason="robustness", actor=worker.owner
                )

    async def watch(self) -> None:
        """Write down what a watch tells, until cancelled. One that fails is begun anew."""
        while True:
            number = next(_watches)
            with suppress(lockstream.LockstreamError):
                async with self._client.watch_locks(prefix=names.WATCHED) as watch:
                    async for told in watch:
                        self._ledger.notebook.write(_observed(number, told))
            await asyncio.sleep(1)


def _observed(number: int, told: lockstream.LocksSnapshot | lockstream.LockChanges) -> Observed:
    if isinstance(told, lockstream.LocksSnapshot):
        there = tuple(
            ("waiting" if entry.state is lockstream.EntryState.WAITING else "held", lock.name, entry.token)
            for lock in told.locks
            for entry in lock.entries
        )
        return Observed(now(), number, names.WATCHED, told.revision, True, there)
    changes = tuple((change.kind.name, change.name, change.entry.token) for change in told.changes)
    return Observed(now(), number, names.WATCHED, told.revision, False, changes)
