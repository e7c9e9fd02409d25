"""Hands what the fold says to the sessions that it concerns."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from lockstream_server.core.effects import Attached, Cause, Effect, Ended, Granted, Queued, Removed, Rewritten
from lockstream_server.core.model import Entry
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.session import Session

POSITION_SECONDS = 1.0
"""How often waiters are told that they moved up."""


class Dispatch:
    """From effects to sessions of this server."""

    def __init__(self, host: Host, sessions: Mapping[int, Session]) -> None:
        self._host = host
        self._sessions = sessions
        self._moved: dict[str, None] = {}
        """Names whose waiters may have moved up since they were told, in the order in which they did."""
        self._by_kind: Mapping[type[Effect], Callable[[Any], None]] = {
            Granted: self._granted,
            Removed: self._removed,
            Queued: self._queued,
            Rewritten: self._rewritten,
            Attached: self._attached,
            Ended: self._ended,
        }

    def tell(self, effect: Effect) -> None:
        """Hand an effect to whom it concerns."""
        self._by_kind[type(effect)](effect)

    def _granted(self, effect: Granted) -> None:
        entry = effect.entry
        if session := self._sessions.get(entry.session or 0):
            session.claims.granted(entry)

    def _removed(self, effect: Removed) -> None:
        entry, cause, eviction = effect
        session = self._sessions.get(entry.session or 0)
        if session is not None and cause is not Cause.SESSION_ENDED:
            session.claims.removed(entry, eviction)
        self._note_moves(entry.name)

    def _queued(self, effect: Queued) -> None:
        entry = effect.entry
        if session := self._sessions.get(entry.session or 0):
            session.claims.queued(entry)
        if entry.record.terms.asks_yield:
            self._ask_holders(entry)

    def _rewritten(self, effect: Rewritten) -> None:
        entry, before = effect
        if entry.record.terms.asks_yield and not before.terms.asks_yield:
            self._ask_holders(entry)
        if entry.record.mode is not before.mode:
            self._note_moves(entry.name)

    def _attached(self, effect: Attached) -> None:
        lease, attached_at = effect
        live = self._host.table.sessions.get(lease)
        if live is not None and live.record is not None:
            self._host.clients.attached(lease, live.record.client_name)
        session = self._sessions.get(lease)
        if session is not None and attached_at > session.attachment.revision:
            session.superseded()

    def _ended(self, effect: Ended) -> None:
        lease, eviction = effect
        self._host.clients.ended(lease)
        session = self._sessions.get(lease)
        proven = session.proven if session is not None else None
        self._host.orphans.ended(lease, proven, evicted=eviction is not None)
        if session is not None:
            session.expired(eviction)

    # Wishes to yield.

    def _ask_holders(self, waiter: Entry) -> None:
        """The waiter asks those who hold to yield."""
        for holder in self._host.table.locks[waiter.name].entries:
            if not holder.granted:
                break
            if session := self._sessions.get(holder.session or 0):
                session.claims.asked_to_yield(holder)

    # Moving up.

    def _note_moves(self, name: str) -> None:
        queue = self._host.table.locks.get(name)
        if queue is None or queue.holding == len(queue.entries):
            return
        if not self._moved:
            asyncio.get_running_loop().call_later(POSITION_SECONDS, self._tell_moves)
        self._moved[name] = None

    def _tell_moves(self) -> None:
        names, self._moved = self._moved, {}
        for name in names:
            queue = self._host.table.locks.get(name)
            for position, entry in queue.waiting() if queue is not None else ():
                if session := self._sessions.get(entry.session or 0):
                    session.claims.moved(entry, position)
