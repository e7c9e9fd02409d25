"""After a resume: what the server says the session has, against what this client asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream._claims import Claim, ClaimState
from lockstream._errors import RemovedExternally
from lockstream._reasons import LossNotice, LossReason
from lockstream.v1 import lock_pb2, session_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lockstream._ledger import Ledger
    from lockstream._link import Link


def settle(ledger: Ledger, link: Link, snapshot: Iterable[session_pb2.Claim], now: float) -> None:
    """Bring the ledger and the server into agreement.

    Nothing that happened in between needs to be replayed.
    """
    there = {entry.acquire_id: entry for entry in snapshot}
    for acquire_id in there.keys() - ledger.claims.keys():
        link.cancel(acquire_id)  # nobody here wants it
    for claim, state in [(claim, claim.state) for claim in ledger.claims.values()]:
        claim.unanswered = False  # what was asked on the stream before is answered by the snapshot
        entry = there.get(claim.acquire_id)
        if claim.state is not state:
            pass  # given up just now, with what else its lock consisted of
        elif entry is None:
            _missing(ledger, link, claim, now)
        else:
            _present(ledger, link, claim, entry, now)
    ledger.changes.send_again(link)
    if ledger.closing is not None:
        link.close()


def _missing(ledger: Ledger, link: Link, claim: Claim, now: float) -> None:
    """The server has nothing of this claim."""
    match claim.state:
        case ClaimState.ASKED:
            link.acquire(claim, now)  # it never took effect
        case ClaimState.QUEUED:
            if claim.until is not None and claim.until <= now:
                ledger.time_out(claim, settled=True)
            else:
                error = RemovedExternally(f"the queue place for {claim.name!r} is gone")
                ledger.fail(claim, error)
        case ClaimState.HELD:
            ledger.lose(claim, LossNotice(LossReason.LEASE_EXPIRED))
        case ClaimState.RELEASING | ClaimState.LEAVING | ClaimState.ENDED:
            ledger.finish(claim)


def _present(ledger: Ledger, link: Link, claim: Claim, entry: session_pb2.Claim, now: float) -> None:
    """The server has this claim, waiting or held."""
    held = entry.state == lock_pb2.ENTRY_STATE_HELD
    match claim.state:
        case ClaimState.ASKED | ClaimState.QUEUED:
            if held:
                ledger.grant(claim.acquire_id, entry.token)
            else:
                link.acquire(claim, now)  # arms its wait again, with what is left of it
        case ClaimState.HELD:
            if not held or entry.token != claim.token:
                ledger.lose(claim, LossNotice(LossReason.LEASE_EXPIRED))
                link.cancel(entry.acquire_id)
        case ClaimState.RELEASING if not held or entry.token != claim.token:
            # What it releases is gone. A first attempt of its acquire, taken for lost, was written after that.
            ledger.finish(claim)
            link.cancel(entry.acquire_id)
        case ClaimState.RELEASING | ClaimState.LEAVING | ClaimState.ENDED:
            ledger.send_again(claim, link)
