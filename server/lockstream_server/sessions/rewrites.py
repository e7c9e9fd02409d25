"""Changes to what an entry says: its value, its mode, the end of its longest hold, a wish to yield.

One at a time for each claim. A change is made to what the one before it left, and only while nothing else was
written since; so one that failed leaves nothing behind, and one that lands late undoes nothing.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from lockstream_server.core.errors import LockError
from lockstream_server.core.messages import Outcome as Reply
from lockstream_server.core.model import EntryRecord
from lockstream_server.sessions import refusals
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.store.keys import entry_id
from lockstream_server.store.port import Attachment, Outcome, Part, RewriteEntry, Verdict

Change = Callable[[EntryRecord], EntryRecord]


class _Rewrite(NamedTuple):
    """A change, and what to answer whom when it is written."""

    change: Change
    request: int | None
    done: Reply | None


class Rewrites:
    """The changes to the claims of one attachment, each of one part."""

    __slots__ = ("_attachment", "_host", "_outbox", "_queues")

    def __init__(self, host: Host, attachment: Attachment, outbox: Outbox) -> None:
        self._host = host
        self._attachment = attachment
        self._outbox = outbox
        self._queues: dict[Claim, deque[_Rewrite]] = {}
        """What is to be written; the first of each is proposed."""

    def propose(self, claim: Claim, change: Change, request: int | None = None, done: Reply | None = None) -> None:
        """Change what the claim's entry says, and answer the request, if there is one, when that is written.

        Raises LockError (QUOTA_EXCEEDED) for a request too many.
        """
        queue = self._queues.setdefault(claim, deque())
        if request is not None:
            refusals.check_awaiting(claim, len(queue))
        queue.append(_Rewrite(change, request, done))
        if len(queue) == 1:
            self._write(claim, queue[0])

    def _write(self, claim: Claim, rewrite: _Rewrite) -> None:
        [(name, slot, record)] = claim.parts
        part = Part(name, slot, rewrite.change(record))
        # Before it was attached here others wrote to the entry, and since then nobody but this.
        since = max(claim.token, self._attachment.revision, claim.rewritten_at)
        self._host.store.propose(
            RewriteEntry(self._attachment, name, slot, claim.token, since, part.record),
            partial(self._written, claim, part),
        )

    def _written(self, claim: Claim, part: Part, outcome: Outcome) -> None:
        queue = self._queues.get(claim)
        if queue is None or outcome.verdict in (Verdict.REFUSED, Verdict.UNKNOWN):
            return  # the session is over, as the fold or the clock will tell
        if outcome.verdict is Verdict.EXISTS:
            self._host.milestones.when_folded(outcome.revision, partial(self._write_anew, claim, part, outcome))
            return
        _, request, answer = queue.popleft()
        if outcome.verdict is Verdict.WRITTEN:
            claim.rewritten_at = outcome.revision
            claim.parts = [part]
        elif outcome.verdict is Verdict.ABSENT:
            answer = refusals.not_held(claim.acquire)
        else:
            answer = refusals.by_store(outcome.verdict)
        if request is not None and answer is not None:
            self._outbox.reply(request, answer)
        if queue:
            self._write(claim, queue[0])
        else:
            del self._queues[claim]

    def _write_anew(self, claim: Claim, part: Part, outcome: Outcome) -> None:
        """One that was taken for failed has been written after all: the next comes on top of it."""
        queue = self._queues.get(claim)
        entry = self._host.table.entry(part.name, entry_id(self._attachment.session, part.slot))
        if queue is None:
            return
        if entry is None or entry.token != claim.token:
            self._written(claim, part, Outcome(Verdict.ABSENT, outcome.revision))
            return
        claim.rewritten_at = outcome.revision
        claim.parts = [part._replace(record=entry.record)]
        self._write(claim, queue[0])

    def end(self, error: LockError) -> None:
        """The session is over: answer everything."""
        for queue in self._queues.values():
            for _, request, _ in queue:
                if request is not None:
                    self._outbox.reply(request, error)
        self._queues.clear()
