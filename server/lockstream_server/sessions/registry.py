"""All sessions of this server, and the table they live by."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.core.messages import Open, Resume
from lockstream_server.core.session import Phase
from lockstream_server.sessions import refusals
from lockstream_server.sessions.beginnings import Beginnings
from lockstream_server.sessions.dispatch import Dispatch
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.session import Session

LEAVING_PER_SECOND = 500
"""Sessions that a draining server sends away in a second at the most: what another one can take up."""
DRAIN_SECONDS = 0.05
"""How often a draining server looks whether everybody has left."""


class Registry:
    """Opens and resumes sessions, and hands each what the fold says of it."""

    def __init__(self, host: Host, new_token: Callable[[], str]) -> None:
        self.host = host
        self.sessions: dict[int, Session] = {}
        """Attached to this server, or kept by it for their grace; by lease."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._beginnings = Beginnings(host, self.sessions, new_token, self._background)
        self._dispatch = Dispatch(host, self.sessions)

    def __repr__(self) -> str:
        attached = sum(session.phase is Phase.ATTACHED for session in self.sessions.values())
        return f"Registry({attached} attached of {len(self.sessions)}, {self.host.table.revision=})"

    # Beginning.

    async def open(self, request: int, asked: Open, outbox: Outbox) -> Session:
        """Begin a session and send its greeting. Raises LockError."""
        return await self._beginnings.open(request, asked, outbox)

    async def resume(self, request: int, asked: Resume, outbox: Outbox) -> Session:
        """Take up a session and send its greeting. Raises LockError."""
        return await self._beginnings.resume(request, asked, outbox)

    # The feed.

    @property
    def revision(self) -> int:
        """See `Feed.revision`."""
        return self.host.table.revision

    def fold(self, revision: Revision) -> None:
        """See `Feed.fold`."""
        at = self.host.wall_clock()
        effects = self.host.table.fold(revision, at)
        for effect in effects:
            self._dispatch.tell(effect)
        self.host.witness.took(self.host.table, effects, at)
        self.host.milestones.reached()

    def resync(self, snapshot: Snapshot) -> None:
        """See `Feed.resync`."""
        starting = not self.revision
        self.host.witness.observers.lost_track(self.host.table.revision)
        effects = self.host.table.fold(self.host.table.difference(snapshot))
        for effect in effects:
            self._dispatch.tell(effect)
        self.host.witness.took(self.host.table, effects, None)
        self.host.orphans.look()
        for session in [*self.sessions.values()]:
            session.claims.reconcile()
        if starting:
            self._renew_the_predecessors()
        self.host.milestones.reached()

    def _renew_the_predecessors(self) -> None:
        """Renew the leases of the sessions which the server of this name had when it ended, as if they detached now.

        Their clients come back, each in its turn, to this server or to another.
        """
        for lease, live in self.host.table.sessions.items():
            if live.record is not None and live.record.server == self.host.name and live.record.grace > 0:
                self.host.store.renew_lease(lease, lambda _: None)

    # Ending.

    def drain(self, until: float) -> None:
        """Take no more sessions and ask those there are to leave, `until` being seconds since the epoch.

        They are asked one after the other: all of them go to the same few servers. Those that are about to begin are
        asked when they have.
        """
        self._beginnings.draining_until = until
        self.host.witness.observers.end(refusals.draining())
        patience = max(until - self.host.wall_clock(), 0.0) / 2
        step = min(1 / LEAVING_PER_SECOND, patience / max(len(self.sessions), 1))
        for number, session in enumerate(self.sessions.values()):
            asyncio.get_running_loop().call_later(number * step, session.drain, until)

    @property
    def draining(self) -> bool:
        """Whether it takes no more sessions."""
        return self._beginnings.draining_until is not None

    async def drained(self) -> None:
        """Wait until every session and observer has left and nothing is under way."""
        while self._busy():  # noqa: ASYNC110 - they leave in many ways
            await asyncio.sleep(DRAIN_SECONDS)

    def _busy(self) -> bool:
        attached = any(session.phase is Phase.ATTACHED for session in self.sessions.values())
        return attached or bool(self._tasks) or bool(self.host.witness.observers)

    async def close(self) -> None:
        """Let go of everything; the sessions go on in the store."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.host.orphans.close()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
