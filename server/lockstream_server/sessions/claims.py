"""What one session holds and awaits, and what its client has been told of it.

A claim is one acquire, from the moment it is proposed until nothing in etcd is left of it:

    PROPOSED --fold--> WAITING --fold--> HELD          the entry is written, queues, is granted
        |                 |                |
        +-----------------+----------------+--> LEAVING    release, cancel, timeout: its deletion is proposed
                                                   |
                                                 LEFT      deleted and told; gone once the fold shows it too

Everything a claim learns comes from two sides whose order is not known: the outcome of its own proposal, and the fold.
An uncontended acquire is answered by whichever is first; each step below therefore tolerates that the other was faster.
Each claim is told exactly once of its grant and exactly once of its end.
"""

import asyncio
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial

from lockstream_server.core.errors import LockError, Reason, quota_exceeded
from lockstream_server.core.messages import (
    NO_WAIT,
    Acquire,
    Cancel,
    Cancelled,
    Granted,
    LossReason,
    Lost,
    Queued,
    Release,
    Released,
    WaitEnded,
)
from lockstream_server.core.messages import Claim as ClaimMessage
from lockstream_server.core.model import Entry, EntryRecord, Mode
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.slots import Slots
from lockstream_server.store.keys import entry_id, slot_of
from lockstream_server.store.port import Attachment, DeleteEntry, Outcome, PutEntry, Verdict


class State(Enum):
    """Where a claim stands."""

    PROPOSED = "proposed"
    WAITING = "waiting"
    HELD = "held"
    LEAVING = "leaving"
    LEFT = "left"


class Claim:
    """One acquire of this session."""

    __slots__ = (
        "acquire",
        "deadline",
        "granted",
        "leavers",
        "left_at",
        "mode",
        "name",
        "owner",
        "request",
        "slot",
        "state",
        "timer",
        "token",
        "wait",
        "why",
    )

    def __init__(self, acquire: int, name: str, slot: int, mode: Mode, owner: str) -> None:
        self.acquire = acquire
        self.name = name
        self.slot = slot
        self.mode = mode
        self.owner = owner
        self.wait: float | None = None
        self.deadline: float | None = None
        """When the wait ends, by the event loop's clock; None for never."""
        self.state = State.PROPOSED
        self.token = 0
        self.granted = False
        """Whether the entry was ever granted, told or not."""
        self.request: int | None = None
        """The acquire request, while it has no reply."""
        self.timer: asyncio.TimerHandle | None = None
        self.why: LockError | None = None
        """What ends it without its client's release: given to whoever still awaits the grant."""
        self.leavers: list[tuple[int, bool]] | None = None
        """Requests to be answered once it has left: the request, and whether it is a cancel."""
        self.left_at = 0
        """The revision by which its entry was deleted."""

    @property
    def active(self) -> bool:
        """Whether it holds or awaits its lock, as far as the client is concerned."""
        return self.state in _ACTIVE

    def __repr__(self) -> str:
        return f"<{self.acquire}: {self.mode.value} {self.name!r} {self.state.value} token={self.token}>"


_ACTIVE = frozenset({State.PROPOSED, State.WAITING, State.HELD})


class Claims:
    """All claims of one attachment of a session."""

    def __init__(self, host: Host, attachment: Attachment, outbox: Outbox, proven: Callable[[], bool]) -> None:
        self._host = host
        self._attachment = attachment
        self._outbox = outbox
        self._proven = proven
        """Whether the lease is certain to live now; without that no grant is told."""
        self._claims: dict[int, Claim] = {}
        self._owners: dict[tuple[str, str], Claim] = {}
        """The active claim of an owner on a name."""
        self._slots = Slots()

    def __repr__(self) -> str:
        return f"Claims({list(self._claims.values())!r})"

    def __len__(self) -> int:
        """How many hold or await their lock."""
        return len(self._owners)

    # What the client asks.

    def acquire(self, request: int, asked: Acquire) -> None:
        """Queue an acquire, or answer a repeated one. Raises LockError."""
        known = self._claims.get(asked.acquire)
        if known is not None:
            self._repeat(known, request, asked)
            return
        rival = self._owners.get((asked.name, asked.owner))
        if rival is not None:
            raise LockError(
                Reason.ALREADY_HELD,
                f"owner {asked.owner!r} of this session has {asked.name!r} already, as acquire {rival.acquire}",
            )
        bounds = self._host.bounds
        if len(self._owners) >= bounds.entries_per_session:
            raise quota_exceeded("entries_per_session", bounds.entries_per_session, "too many locks in one session")
        queue = self._host.table.locks.get(asked.name)
        if queue is not None and len(queue.entries) >= bounds.waiters_per_lock:
            raise quota_exceeded("waiters_per_lock", bounds.waiters_per_lock, "too many wait for this lock")
        claim = Claim(asked.acquire, asked.name, self._slots.take(asked.name), asked.mode, asked.owner)
        claim.request = request
        self._set_wait(claim, asked.wait)
        try:
            self._propose(claim)
        except LockError:
            self._slots.give_back(claim.name, claim.slot)
            raise
        self._claims[claim.acquire] = claim
        self._owners[claim.name, claim.owner] = claim

    def release(self, request: int, asked: Release) -> None:
        """Give up a lock that is held. Raises LockError."""
        claim = self._claims.get(asked.acquire)
        if claim is not None and claim.token != asked.token and claim.granted:
            raise LockError(Reason.STALE_TOKEN, f"acquire {asked.acquire} has token {claim.token}, not {asked.token}")
        if claim is None or not claim.granted or claim.state is State.LEFT:
            raise LockError(Reason.NOT_HELD, f"acquire {asked.acquire} does not hold a lock")
        self._leave(claim, None, (request, False))

    def cancel(self, request: int, asked: Cancel) -> None:
        """Withdraw an acquire, whatever became of it."""
        claim = self._claims.get(asked.acquire)
        if claim is None or claim.state is State.LEFT:
            self._outbox.reply(request, Cancelled(was_granted=False))
        else:
            self._leave(claim, LockError(Reason.CANCELLED, "the acquire was cancelled"), (request, True))

    def _repeat(self, claim: Claim, request: int, asked: Acquire) -> None:
        """Tell how an acquire that is asked again stands."""
        same = (claim.name, claim.mode, claim.owner) == (asked.name, asked.mode, asked.owner)
        if not same or not claim.active:
            raise LockError(Reason.ACQUIRE_ID_REUSED, f"acquire {claim.acquire} was {claim!r}")
        if claim.state is State.PROPOSED:
            raise LockError(Reason.WRONG_STATE, f"acquire {claim.acquire} has not been answered yet")
        if claim.state is State.HELD:
            self._outbox.reply(request, Granted(claim.acquire, claim.token))
            return
        self._set_wait(claim, asked.wait)
        if asked.wait == NO_WAIT:
            claim.request = request
            self._leave(claim, _would_block(claim), None)
        else:
            self._outbox.reply(request, Queued(claim.acquire, self._position(claim)))
            self._arm(claim)

    def _propose(self, claim: Claim) -> None:
        record = EntryRecord(claim.acquire, claim.mode, claim.owner, self._host.wall_clock())
        only_if_free = claim.wait == NO_WAIT and claim.mode is Mode.EXCLUSIVE
        proposal = PutEntry(self._attachment, claim.name, claim.slot, record, only_if_free)
        self._host.store.propose(proposal, partial(self._put, claim))

    # What the store answers.

    def _put(self, claim: Claim, outcome: Outcome) -> None:
        """The outcome of an acquire's proposal."""
        match outcome.verdict:
            case Verdict.GRANTED:
                self._grant(claim, outcome.revision)
            case Verdict.WOULD_BLOCK:
                claim.why = claim.why or _would_block(claim)
                self._finish(claim)
                self._forget(claim)
            case Verdict.QUEUED:
                claim.token = outcome.revision  # the fold tells what it is worth
            case Verdict.EXISTS:
                self._host.milestones.when_folded(outcome.revision, partial(self._look, claim))
            case Verdict.FAILED:
                claim.why = LockError(Reason.INTERNAL, "etcd refused the transaction")
                self._finish(claim)
                self._forget(claim)
            case _:
                pass  # REFUSED, UNKNOWN: the session is over, as the fold or the clock will tell

    def _look(self, claim: Claim) -> None:
        """There was such an entry: see what the table says of it."""
        if claim.state is not State.PROPOSED:
            return
        entry = self._entry(claim)
        if entry is None or entry.record.acquire != claim.acquire:
            # A late attempt of the acquire that had the slot before. It is being deleted, and then this one fits.
            try:
                self._propose(claim)
            except LockError as error:
                claim.why = error
                self._finish(claim)
                self._forget(claim)
        elif entry.granted:
            self.granted(entry)
        else:
            self.queued(entry)

    def _deleted(self, claim: Claim, outcome: Outcome) -> None:
        """The outcome of a deletion's proposal."""
        match outcome.verdict:
            case Verdict.DELETED | Verdict.ABSENT:
                claim.left_at = outcome.revision
                self._finish(claim)
                if self._host.table.revision >= outcome.revision:
                    self._forget(claim)
                elif outcome.verdict is Verdict.ABSENT:
                    # Nothing more may come of it; but what the fold has yet to show may still be its own.
                    self._host.milestones.when_folded(outcome.revision, partial(self._forget, claim))
            case Verdict.FAILED if claim.state is State.LEAVING:
                for request, _ in claim.leavers or ():
                    self._outbox.reply(request, LockError(Reason.INTERNAL, "etcd refused the transaction"))
                claim.leavers = None
                claim.state = State.HELD if claim.granted else State.WAITING
                self._owners[claim.name, claim.owner] = claim
            case _:
                pass  # REFUSED, UNKNOWN: the session is over, as the fold or the clock will tell

    # What the fold shows.

    def granted(self, entry: Entry) -> None:
        """An entry of this session holds its lock."""
        claim = self._claim_of(entry)
        if claim is not None:
            self._grant(claim, entry.token)

    def queued(self, entry: Entry) -> None:
        """An entry of this session is new and has to wait."""
        claim = self._claim_of(entry)
        if claim is None or claim.state is not State.PROPOSED:
            return
        if claim.wait == NO_WAIT:
            self._leave(claim, _would_block(claim), None)
            return
        claim.state = State.WAITING
        self._host.counters.queued += 1
        self._reply(claim, Queued(claim.acquire, self._position(claim)))
        self._arm(claim)

    def removed(self, entry: Entry) -> None:
        """An entry of this session is gone, though the session is not."""
        claim = self._claims.get(entry.record.acquire)
        if claim is None or claim.name != entry.name:
            return
        if claim.state in (State.LEAVING, State.LEFT):
            self._finish(claim)
            self._forget(claim)
        else:
            self._vanish(claim)

    def _claim_of(self, entry: Entry) -> Claim | None:
        """The claim behind an entry.

        An entry that nobody here wants, such as a repeated proposal's late first attempt, is deleted.
        """
        claim = self._claims.get(entry.record.acquire)
        late = claim is not None and claim.state is State.LEFT and entry.token > claim.left_at
        if claim is not None and claim.name == entry.name and not late:
            return claim
        unwanted = DeleteEntry(self._attachment, entry.name, slot_of(entry.key), entry.token)
        self._host.store.propose(unwanted, lambda _: None)
        return None

    # Resuming and ending.

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Take over what an earlier attachment of the session left in the table."""
        for entry in entries:
            slot = slot_of(entry.key)
            self._slots.claim(entry.name, slot)
            claim = Claim(entry.record.acquire, entry.name, slot, entry.record.mode, entry.record.owner)
            claim.granted = entry.granted
            claim.token = entry.token
            claim.state = State.HELD if entry.granted else State.WAITING
            self._claims[claim.acquire] = claim
            self._owners[claim.name, claim.owner] = claim

    def reconcile(self) -> None:
        """The table was read anew, and does not show what began and ended in between: see what is missing."""
        for claim in [*self._claims.values()]:
            if claim.state is State.LEFT:
                self._forget(claim)
            elif claim.state is not State.LEAVING and 0 < claim.token <= self._host.table.revision:
                entry = self._entry(claim)
                if entry is None or entry.token != claim.token:
                    self._vanish(claim)

    def messages(self) -> list[ClaimMessage]:
        """How everything stands, for the reply to a resume."""
        return [
            ClaimMessage(
                claim.acquire,
                claim.name,
                claim.mode,
                claim.owner,
                claim.state is State.HELD,
                claim.token,
                0 if claim.state is State.HELD else self._position(claim),
            )
            for claim in self._claims.values()
            if claim.active
        ]

    def end(self, error: LockError, loss: LossReason | None) -> None:
        """The session is over: answer everything. Held locks are reported lost unless the client closed it."""
        for claim in self._claims.values():
            self._stop_timer(claim)
            for request, _ in claim.leavers or ():
                self._outbox.reply(request, error)
            claim.leavers = None
            if claim.state is State.HELD:
                if loss is not None:
                    self._lose(claim, loss)
            elif claim.state is not State.LEFT and not (claim.state is State.LEAVING and claim.why is None):
                self._end_wait(claim, error)
            claim.state = State.LEFT  # an outcome that is still on its way changes nothing any more
        self._claims.clear()
        self._owners.clear()

    # Steps.

    def _grant(self, claim: Claim, token: int) -> None:
        """The entry holds. Tell so, unless the claim is on its way out or nothing is certain any more."""
        claim.granted = True
        claim.token = token
        if claim.state not in (State.PROPOSED, State.WAITING) or not self._proven():
            return
        claim.state = State.HELD
        self._stop_timer(claim)
        self._host.counters.grants += 1
        self._reply(claim, Granted(claim.acquire, claim.token))

    def _leave(self, claim: Claim, why: LockError | None, leaver: tuple[int, bool] | None) -> None:
        """Propose the deletion of the entry, unless that is under way already."""
        if leaver is not None:
            claim.leavers = [*(claim.leavers or ()), leaver]
        if claim.state is State.LEAVING:
            return
        # Only somebody who was not granted yet is told why the wait ended.
        claim.why = None if claim.state is State.HELD else why
        claim.state = State.LEAVING
        self._stop_timer(claim)
        self._owners.pop((claim.name, claim.owner), None)
        self._host.store.propose(
            DeleteEntry(self._attachment, claim.name, claim.slot, claim.token or None),
            partial(self._deleted, claim),
        )

    def _finish(self, claim: Claim) -> None:
        """The entry is gone, as was wanted: tell everybody who waits for that."""
        if claim.state is State.LEFT:
            return
        claim.state = State.LEFT
        self._owners.pop((claim.name, claim.owner), None)
        if claim.why is not None:
            self._host.counters.withdrawn += 1
            self._end_wait(claim, claim.why)
        else:
            self._host.counters.releases += 1
        for request, cancels in claim.leavers or ():
            self._outbox.reply(request, Cancelled(claim.granted) if cancels else Released())
        claim.leavers = None

    def _vanish(self, claim: Claim) -> None:
        """The entry was deleted behind the session's back."""
        self._stop_timer(claim)
        if claim.state is State.HELD:
            self._lose(claim, LossReason.REMOVED_EXTERNALLY)
        else:
            self._end_wait(claim, LockError(Reason.REMOVED_EXTERNALLY, "the entry was deleted in etcd"))
        self._owners.pop((claim.name, claim.owner), None)
        self._forget(claim)

    def _lose(self, claim: Claim, reason: LossReason) -> None:
        self._host.counters.losses[(reason.name,)] += 1
        self._outbox.push(Lost(claim.acquire, claim.name, claim.token, reason))

    def _end_wait(self, claim: Claim, error: LockError) -> None:
        if claim.request is not None:
            self._outbox.reply(claim.request, error)
            claim.request = None
        else:
            self._outbox.push(WaitEnded(claim.acquire, error))

    def _reply(self, claim: Claim, outcome: Granted | Queued) -> None:
        """Tell a grant or a place: as the reply while there is none, as an event afterwards."""
        if claim.request is not None:
            self._outbox.reply(claim.request, outcome)
            claim.request = None
        elif isinstance(outcome, Granted):
            self._outbox.push(outcome)

    def _forget(self, claim: Claim) -> None:
        if self._claims.get(claim.acquire) is claim:
            del self._claims[claim.acquire]
            self._slots.give_back(claim.name, claim.slot)

    def _position(self, claim: Claim) -> int:
        entry = self._entry(claim)
        return self._host.table.position(entry) if entry is not None else 0

    def _entry(self, claim: Claim) -> Entry | None:
        """The entry at the claim's key, which a late attempt of another claim may have written."""
        return self._host.table.entry(claim.name, entry_id(self._attachment.session, claim.slot))

    def _set_wait(self, claim: Claim, wait: float | None) -> None:
        claim.wait = wait
        claim.deadline = asyncio.get_running_loop().time() + wait if wait else None

    def _arm(self, claim: Claim) -> None:
        """Start the wait's timer, if it has an end."""
        self._stop_timer(claim)
        if claim.deadline is not None:
            claim.timer = asyncio.get_running_loop().call_at(claim.deadline, self._time_out, claim)

    def _time_out(self, claim: Claim) -> None:
        if claim.state is State.WAITING:
            self._leave(claim, LockError(Reason.WAIT_TIMEOUT, f"not granted within {claim.wait:g} s"), None)

    @staticmethod
    def _stop_timer(claim: Claim) -> None:
        if claim.timer is not None:
            claim.timer.cancel()
            claim.timer = None


def _would_block(claim: Claim) -> LockError:
    return LockError(Reason.WOULD_BLOCK, f"{claim.name!r} is taken")
