"""What a client asks about its claims: each request is checked here and then taken to the step that it is for.

A request that fails a check raises, and has changed nothing. A client may ask again for what it asked before, for a
reply may have been lost with its stream: that is answered with how the acquire stands.
"""

import asyncio
from collections.abc import Sequence

from lockstream_server.core.errors import LockError, Reason, quota_exceeded
from lockstream_server.core.messages import (
    NO_WAIT,
    Acquire,
    AcquireAll,
    AcquirePart,
    Cancel,
    Cancelled,
    Downgrade,
    Granted,
    Queued,
    Release,
    RequestYield,
    SetValue,
    Upgrade,
)
from lockstream_server.core.model import EntryRecord, Mode, SessionRecord, Terms
from lockstream_server.sessions import refusals
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.claim_book import ClaimBook
from lockstream_server.sessions.endings import Endings
from lockstream_server.sessions.holds import Holds
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.waits import Waits
from lockstream_server.store.port import Part

Wanted = tuple[str, Mode, Terms]
"""A name, how it is wanted, and on what terms: what an `AcquirePart` says."""


class Requests:
    """Requests about the claims of one attachment. Each is answered through the outbox, sooner or later."""

    __slots__ = ("_book", "_endings", "_holds", "_host", "_outbox", "_session", "_waits")

    def __init__(
        self,
        host: Host,
        session: SessionRecord,
        outbox: Outbox,
        book: ClaimBook,
        waits: Waits,
        holds: Holds,
        endings: Endings,
    ) -> None:
        self._host = host
        self._session = session
        self._outbox = outbox
        self._book = book
        self._waits = waits
        self._holds = holds
        self._endings = endings

    # To have a lock.

    def acquire(self, request: int, asked: Acquire) -> None:
        """Queue an acquire, or answer a repeated one. Raises LockError."""
        self._acquire(request, asked.acquire, ((asked.name, asked.mode, asked.terms),), asked)

    def acquire_all(self, request: int, asked: AcquireAll) -> None:
        """Queue an acquire of several names, or answer a repeated one. Raises LockError."""
        self._acquire(request, asked.acquire, asked.parts, asked)

    def upgrade(self, request: int, asked: Upgrade) -> None:
        """Queue the upgrade of a shared hold, or answer a repeated one. Raises LockError."""
        known = self._book.by_acquire.get(asked.acquire)
        if known is not None and known.record.terms.upgrades == asked.token:
            shared = known  # asked again, when the shared hold may be released already
        else:
            shared = self._held(asked.shared, asked.token)
            if shared.mode is not Mode.SHARED or len(shared.parts) > 1:
                raise LockError(Reason.WRONG_STATE, f"acquire {asked.shared} is no shared hold of one lock")
        part = AcquirePart(shared.name, Mode.UPGRADE, Terms(upgrades=asked.token))
        self._acquire(request, asked.acquire, (part,), AcquireAll(asked.acquire, (), shared.record.owner, asked.wait))

    def request_yield(self, request: int, asked: RequestYield) -> None:
        """Ask those before a waiting claim to yield. Raises LockError."""
        claim = self._book.by_acquire.get(asked.acquire)
        if claim is None or not claim.active:
            raise LockError(Reason.WRONG_STATE, f"acquire {asked.acquire} waits for nothing")
        self._holds.request_yield(request, claim)

    def _acquire(self, request: int, acquire: int, parts: Sequence[Wanted], asked: Acquire | AcquireAll) -> None:
        book = self._book
        known = book.by_acquire.get(acquire)
        if known is not None:
            self._repeat(known, request, parts, asked)
            return
        self._check_room(parts, asked.owner)
        if self._host.clients.limit_acquires:
            self._check_quotas(parts)
        owner, now, ttl = asked.owner, round(self._host.wall_clock(), 3), self._session.ttl
        claim = Claim(
            acquire,
            [
                Part(name, book.slots.take(name), EntryRecord(acquire, mode, owner, now, part_terms, ttl))
                for name, mode, part_terms in parts
            ],
        )
        claim.request = request
        if asked.wait is not None:
            self._set_wait(claim, asked.wait)
        try:
            self._waits.propose(claim)
        except LockError:
            book.give_slots_back(claim)
            raise
        book.add(claim)

    def _check_room(self, parts: Sequence[Wanted], owner: str) -> None:
        bounds = self._host.bounds
        for name, mode, part_terms in parts:
            for rival in self._book.by_owner.get((name, owner), ()):
                if mode is not Mode.UPGRADE or rival.token != part_terms.upgrades:
                    raise refusals.already_held(rival, name, owner)
            queue = self._host.table.locks.get(name)
            if queue is not None and len(queue.entries) >= bounds.waiters_per_lock:
                count = len(queue.entries)
                raise quota_exceeded("waiters_per_lock", bounds.waiters_per_lock, count, "too many wait for this lock")
        entries = self._book.entries
        if entries + len(parts) > bounds.entries_per_session:
            raise quota_exceeded(
                "entries_per_session", bounds.entries_per_session, entries, "too many locks in one session"
            )

    def _check_quotas(self, parts: Sequence[Wanted]) -> None:
        clients = self._host.clients
        clients.check_rate(self._session.client_name, asyncio.get_running_loop().time())
        claims = self._book.by_acquire.values()
        unseen = sum(claim.state is State.PROPOSED for claim in claims) if clients.counts_entries else 0
        clients.check_acquire(self._session.client_name, [name for name, _, _ in parts], unseen)

    def _repeat(self, claim: Claim, request: int, parts: Sequence[Wanted], asked: Acquire | AcquireAll) -> None:
        """Tell how an acquire that is asked again stands."""
        dropped = claim.ends_by_itself and claim.why is None
        same = dropped or refusals.is_same(claim, parts, asked.owner)  # of what is dropped some parts are gone
        if same and claim.ends_by_itself and claim.request is None:
            # A client that resumed could not know yet. It is told once the entries are gone.
            claim.request = request
            claim.why = claim.why or LockError(Reason.REMOVED_EXTERNALLY, "an entry was deleted in etcd")
            return
        if not claim.active or not same:
            raise LockError(Reason.ACQUIRE_ID_REUSED, f"acquire {claim.acquire} was {claim!r}")
        if claim.state is State.PROPOSED:
            raise LockError(Reason.WRONG_STATE, f"acquire {claim.acquire} has not been answered yet")
        if claim.state is State.HELD:
            self._outbox.reply(request, Granted(claim.acquire, claim.token))
            return
        self._set_wait(claim, asked.wait)
        if asked.wait == NO_WAIT:
            claim.request = request
            self._endings.leave(claim, refusals.would_block(claim))
        else:
            self._outbox.reply(request, Queued(claim.acquire, self._book.position(claim)))
            self._waits.arm(claim)

    @staticmethod
    def _set_wait(claim: Claim, wait: float | None) -> None:
        claim.wait = wait
        claim.deadline = asyncio.get_running_loop().time() + wait if wait else None

    # To change a hold.

    def downgrade(self, request: int, asked: Downgrade) -> None:
        """Make an exclusive hold shared. Raises LockError."""
        self._holds.downgrade(request, self._held(asked.acquire, asked.token))

    def set_value(self, request: int, asked: SetValue) -> None:
        """Change what a hold says of itself. Raises LockError."""
        self._holds.set_value(request, self._held(asked.acquire, asked.token), asked.value, asked.metadata)

    def _held(self, acquire: int, token: int) -> Claim:
        """A claim that is held under this token. Raises LockError."""
        claim = self._book.by_acquire.get(acquire)
        if claim is None or claim.state is not State.HELD:
            raise refusals.not_held(acquire)
        if claim.token != token:
            raise refusals.stale(claim, token)
        return claim

    # To have it no more.

    def release(self, request: int, asked: Release) -> None:
        """Give up a lock that is held. Raises LockError."""
        claim = self._book.by_acquire.get(asked.acquire)
        if claim is not None and claim.token != asked.token and claim.granted:
            raise refusals.stale(claim, asked.token)
        if claim is None or not claim.granted or claim.state is State.LEFT:
            raise refusals.not_held(asked.acquire)
        self._endings.leave(claim, None, (request, False))

    def cancel(self, request: int, asked: Cancel) -> None:
        """Withdraw an acquire, whatever became of it. Raises LockError."""
        claim = self._book.by_acquire.get(asked.acquire)
        if claim is None or claim.state is State.LEFT:
            self._outbox.reply(request, Cancelled(was_granted=False))
        else:
            self._endings.leave(claim, LockError(Reason.CANCELLED, "the acquire was cancelled"), (request, True))
