"""What one session holds and awaits, and what its client has been told of it.

Each claim is told exactly once of its grant and exactly once of its end. Its way is in the neighbouring files:
`requests.py`, what the client asks; `waits.py`, to the grant; `holds.py` and `rewrites.py`, while it is held;
`endings.py`, to the end; and `claim_book.py`, which claims there are. Here is what they have in common: whose entry the
fold speaks of, and what becomes of all claims at once when the session is taken over, the table is read anew, or the
session ends.
"""

from collections.abc import Callable, Iterable

from lockstream_server.core.errors import LockError
from lockstream_server.core.messages import Claim as ClaimMessage
from lockstream_server.core.messages import LossReason
from lockstream_server.core.model import Entry, EvictionRecord, SessionRecord
from lockstream_server.sessions.claim import Claim, State
from lockstream_server.sessions.claim_book import ClaimBook
from lockstream_server.sessions.endings import Endings
from lockstream_server.sessions.holds import Holds
from lockstream_server.sessions.host import Background, Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.requests import Requests
from lockstream_server.sessions.waits import Waits
from lockstream_server.store.keys import slot_of
from lockstream_server.store.port import Attachment, Part


class Claims:
    """All claims of one attachment of a session."""

    __slots__ = ("_attachment", "_book", "_endings", "_holds", "_host", "_waits", "requests")

    def __init__(
        self,
        host: Host,
        attachment: Attachment,
        record: SessionRecord,
        outbox: Outbox,
        proven: Callable[[], bool],
        background: Background,
    ) -> None:
        """`proven` is whether the lease is proven now; without that no grant is told."""
        self._host = host
        self._attachment = attachment
        self._book = ClaimBook(host.table, attachment.session)
        self._endings = Endings(host, attachment, outbox, self._book)
        self._holds = Holds(host, attachment, outbox, background)
        self._waits = Waits(host, attachment, outbox, self._book, self._holds, self._endings, proven)
        self.requests = Requests(host, record, outbox, self._book, self._waits, self._holds, self._endings)

    def __repr__(self) -> str:
        return f"Claims({list(self._book.by_acquire.values())!r})"

    def __len__(self) -> int:
        """How many entries hold or await their lock."""
        return self._book.entries

    # What the fold shows.

    def granted(self, entry: Entry) -> None:
        """An entry of this session holds its lock."""
        claim = self._book.by_acquire.get(entry.record.acquire)
        if claim is not None and claim.granted and claim.token == entry.token:
            return  # its commit has told so
        claim = self._claim_of(entry)
        if claim is not None and not claim.granted:
            self._waits.granted(claim, entry)

    def queued(self, entry: Entry) -> None:
        """An entry of this session is new and has to wait."""
        claim = self._claim_of(entry)
        if claim is not None:
            self._waits.queued(claim, entry)

    def removed(self, entry: Entry, eviction: EvictionRecord | None) -> None:
        """An entry of this session is gone, though the session is not."""
        claim = self._book.by_acquire.get(entry.record.acquire)
        if claim is None or not claim.has(entry):
            return
        if claim.state in (State.LEAVING, State.LEFT):
            if len(claim.parts) == 1:  # of several, only the outcomes of all the deletions tell that all are gone
                self._endings.finish(claim)
                self._book.forget(claim)
        else:
            self._endings.vanish(claim, eviction)

    def moved(self, entry: Entry, position: int) -> None:
        """An entry of this session may have moved up in its queue, without being granted."""
        claim = self._book.by_acquire.get(entry.record.acquire)
        if claim is not None and claim.state is State.WAITING:
            self._waits.moved(claim, position)

    def asked_to_yield(self, entry: Entry) -> None:
        """Somebody who waits behind an entry of this session asks it to yield."""
        claim = self._book.by_acquire.get(entry.record.acquire)
        if claim is not None and claim.state is State.HELD:
            self._holds.asked_to_yield(claim, entry.name)

    def _claim_of(self, entry: Entry) -> Claim | None:
        """The claim behind an entry.

        An entry that nobody here wants, such as a repeated proposal's late first attempt, is deleted.
        """
        claim = self._book.by_acquire.get(entry.record.acquire)
        if claim is not None and claim.has(entry):
            return claim
        self._endings.discard(entry)
        return None

    # Taking over.

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Take over what an earlier attachment of the session left in the table."""
        found: dict[int, list[Entry]] = {}
        for entry in entries:
            found.setdefault(entry.record.acquire, []).append(entry)
        for acquire, own in found.items():
            own.sort(key=lambda entry: entry.name)
            claim = Claim(acquire, [Part(entry.name, slot_of(entry.key), entry.record) for entry in own])
            for part in claim.parts:
                self._book.slots.claim(part.name, part.slot)
            claim.pending = sum(not entry.granted for entry in own)
            claim.granted = not claim.pending
            claim.token = own[0].token
            claim.state = State.HELD if claim.granted else State.WAITING
            self._book.add(claim)
            if len(own) < claim.record.terms.parts:
                # The others were deleted while the session was attached nowhere. The client finds nothing of it.
                self._endings.drop(claim)
            elif claim.granted:
                self._holds.limit(claim)

    def refuse_hopeless(self) -> None:
        """End the waits, among those taken over, that came to nothing while nobody looked after them."""
        for claim in [*self._book.by_acquire.values()]:
            self._waits.refuse_hopeless(claim)

    def reconcile(self) -> None:
        """The table was read anew, and does not show what began and ended in between: see what is missing."""
        for claim in [*self._book.by_acquire.values()]:
            if claim.state is State.LEFT:
                self._book.forget(claim)
            elif claim.state is not State.LEAVING and 0 < claim.token <= self._host.table.revision:
                entries = [self._book.entry(part) for part in claim.parts]
                if any(entry is None or entry.token != claim.token for entry in entries):
                    self._endings.vanish(claim, None)

    def messages(self) -> list[ClaimMessage]:
        """How everything stands, for the reply to a resume."""
        return [
            ClaimMessage(
                claim.acquire,
                claim.name,
                claim.mode,
                claim.record.owner,
                claim.state is State.HELD,
                claim.token,
                0 if claim.state is State.HELD else self._book.position(claim),
                [part.name for part in claim.parts] if len(claim.parts) > 1 else (),
            )
            for claim in self._book.by_acquire.values()
            if claim.active
        ]

    def end(self, error: LockError, loss: LossReason | None, eviction: EvictionRecord | None = None) -> None:
        """The session is over: answer everything. Held locks are reported lost unless the client closed it."""
        self._endings.end(error, loss, eviction)
        self._holds.rewrites.end(error)
