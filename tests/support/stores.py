"""A store with somebody who follows it and proposes to it, for tests of what stores promise."""

import asyncio
from collections.abc import Callable
from itertools import count

from lockstream_server.core.changes import Change, Revision, Snapshot
from lockstream_server.core.model import EntryRecord, Mode, SessionRecord
from lockstream_server.core.table import Table
from lockstream_server.store.keys import entry_id
from lockstream_server.store.port import (
    Attachment,
    CreateSession,
    DeleteEntry,
    Outcome,
    Proposal,
    PutEntry,
    Store,
    Verdict,
)
from tests.support.history import RECORD

PATIENCE = 15.0
"""Seconds after which something awaited has failed to happen."""


class Follower:
    """A feed that keeps everything it was fed."""

    def __init__(self) -> None:
        self.table = Table()
        self.snapshots: list[Snapshot] = []
        self.revisions: list[Revision] = []
        self._moved = asyncio.Event()

    @property
    def revision(self) -> int:
        return self.table.revision

    def fold(self, revision: Revision) -> None:
        assert revision.number > self.table.revision, "a revision came twice, or out of order"
        self.revisions.append(revision)
        self.table.fold(revision)
        self._moved.set()

    def resync(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        self.table.fold(self.table.difference(snapshot))
        self._moved.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was fed makes it true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._moved.clear()
                await self._moved.wait()

    def changes(self) -> list[Change]:
        return [change for revision in self.revisions for change in revision.changes]

    def at(self, number: int) -> Revision:
        [revision] = [revision for revision in self.revisions if revision.number == number]
        return revision


class Subject:
    """A store under test, followed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.follower = Follower()
        self._acquires = count(1)
        self._following = asyncio.ensure_future(store.follow(self.follower))

    async def begun(self) -> "Subject":
        """Wait for the first snapshot."""
        await self.follower.until(lambda: bool(self.follower.snapshots))
        return self

    async def stop(self) -> None:
        """Follow no more; raises what ended the following, if anything did."""
        self._following.cancel()
        await asyncio.wait([self._following])
        if not self._following.cancelled():
            self._following.result()

    def send(self, *proposals: Proposal) -> list["asyncio.Future[Outcome]"]:
        """Propose all of these at once. A store that settles one twice fails the test."""
        futures = []
        for proposal in proposals:
            future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            self.store.propose(proposal, future.set_result)
            assert not future.done(), "settled from within propose"
            futures.append(future)
        return futures

    async def propose(self, *proposals: Proposal) -> list[Outcome]:
        """Propose all of these at once and wait for all outcomes."""
        async with asyncio.timeout(PATIENCE):
            return list(await asyncio.gather(*self.send(*proposals)))

    async def verdict(self, proposal: Proposal) -> Verdict:
        """Propose one thing."""
        [outcome] = await self.propose(proposal)
        return outcome.verdict

    async def session(self, ttl: int = 60, record: SessionRecord = RECORD) -> Attachment:
        """Open a session."""
        lease = await self.store.grant_lease(ttl)
        [outcome] = await self.propose(CreateSession(lease.session, record))
        assert outcome.verdict is Verdict.WRITTEN
        return Attachment(lease.session, outcome.revision)

    def put(
        self,
        attachment: Attachment,
        name: str,
        slot: int = 0,
        *,
        mode: Mode = Mode.EXCLUSIVE,
        only_if_free: bool = False,
    ) -> PutEntry:
        """An acquire."""
        return PutEntry(attachment, name, slot, EntryRecord(next(self._acquires), mode, "owner", 1.5), only_if_free)

    async def entries(self, name: str) -> list[str]:
        """The keys of a lock's entries, read from the store itself."""
        return sorted(put.key for put in (await self.store.read_lock(name)).entries)


def delete(attachment: Attachment, name: str, slot: int = 0, *, token: int) -> DeleteEntry:
    """A release."""
    return DeleteEntry(attachment, name, slot, token)


def key(attachment: Attachment, slot: int = 0) -> str:
    """The key of a session's entry."""
    return entry_id(attachment.session, slot)
