"""Defects planted on purpose: each is found within a bounded number of seeds, by the check that is there for it."""

# ruff: noqa: SLF001 - what is to be broken lies inside

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lockstream._claims import ClaimState
from lockstream._clock import Clock
from lockstream._ledger import Ledger
from lockstream._lock import Lock
from lockstream_server.core import deadlock, rules
from lockstream_server.core.effects import Effect
from lockstream_server.core.effects import Granted as GrantedEffect
from lockstream_server.core.messages import Granted, Queued
from lockstream_server.core.model import Mode
from lockstream_server.core.queue import Queue
from lockstream_server.core.session import LeaseProof
from lockstream_server.core.table import Table
from lockstream_server.sessions.beginnings import Beginnings
from lockstream_server.sessions.orphans import Orphans
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.session import Session
from lockstream_server.sessions.waits import Waits
from lockstream_server.store.keys import slot_of
from lockstream_server.store.memory import MemoryStore
from lockstream_server.store.port import Attachment, DeleteSession
from tests.simulation.world import World

SEEDS = 1000
"""Within which every planted defect must be found."""
STEPS = 1_000

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


def client_that_ignores_its_deadline(patch: Patch) -> None:
    """It believes for a minute longer than anybody promised."""
    prove, attach = Ledger.prove, Ledger.attach

    def attached(self: Ledger, link: Any, told: Any) -> None:
        attach(self, link, told)
        self.deadline += 60.0

    patch.setattr(Ledger, "prove", lambda self, remaining: prove(self, remaining + 60.0))
    patch.setattr(Ledger, "attach", attached)


def clocks_that_stand_still_with_their_machine(patch: Patch) -> None:
    """Client and server go by the event loop's clock, as if nothing could be slept through."""
    patch.setattr(Clock, "time", lambda self: self._time())


def client_that_keeps_what_it_released(patch: Patch) -> None:
    """A release that is asked for after the resume is forgotten: the lock stays taken."""
    send_again = Ledger.send_again

    def forgetful(self: Ledger, claim: Any, link: Any) -> None:
        if claim.state is not ClaimState.RELEASING:
            send_again(self, claim, link)

    patch.setattr(Ledger, "send_again", forgetful)


def client_that_holds_what_it_lost(patch: Patch) -> None:
    """News of a loss in a snapshot goes unheard."""
    patch.setattr(Lock, "held", property(lambda self: self._hold.top.state in (ClaimState.HELD, ClaimState.ENDED)))


def fold_that_grants_two_writers(patch: Patch) -> None:
    patch.setitem(rules.RULES, Mode.EXCLUSIVE, lambda holders, _: holders.number < 2)


def fold_that_lets_readers_join_writers(patch: Patch) -> None:
    patch.setitem(rules.RULES, Mode.SHARED, lambda _holders, _: True)


def fold_that_grants_one_permit_too_many(patch: Patch) -> None:
    def generous(holders: rules.Holders, candidate: Any) -> bool:
        asked = candidate.record.terms
        return holders.last.record.mode is Mode.PERMITS and holders.permits + asked.permits <= asked.limit + 1

    patch.setitem(rules.RULES, Mode.PERMITS, generous)


def fold_that_upgrades_beside_readers(patch: Patch) -> None:
    patch.setitem(rules.RULES, Mode.UPGRADE, lambda holders, _: holders.number < 3)


def fold_that_grants_the_last_first(patch: Patch) -> None:
    """Whoever comes is put at the head of those who wait."""

    def insert(self: Queue, entry: Any) -> None:
        self.entries.insert(self.holding, entry)
        self.by_key[entry.key] = entry

    patch.setattr(Queue, "insert", insert)


def fold_that_forgets_a_grant(patch: Patch) -> None:
    """Every fifth grant that somebody waited for is told to nobody."""
    fold, count = Table.fold, iter(range(1_000_000_000))

    def forgetful(self: Table, *arguments: Any) -> list[Effect]:
        effects = fold(self, *arguments)
        return [each for each in effects if not (isinstance(each, GrantedEffect) and next(count) % 5 == 4)]

    patch.setattr(Table, "fold", forgetful)


def server_that_proves_more_than_it_knows(patch: Patch) -> None:
    patch.setattr(LeaseProof, "remaining", lambda self, _: float(self.ttl))


def server_that_grants_without_proof(patch: Patch) -> None:
    """It takes every place in a queue for a grant."""
    reply = Outbox.reply

    def hasty(self: Outbox, request_id: int, outcome: Any) -> None:
        reply(self, request_id, Granted(outcome.acquire, 1_000_000) if isinstance(outcome, Queued) else outcome)

    patch.setattr(Outbox, "reply", hasty)


def server_that_never_ends_a_wait(patch: Patch) -> None:
    patch.setattr(Waits, "_time_out", lambda _self, _claim: None)


def server_that_sees_no_deadlock(patch: Patch) -> None:
    patch.setattr(deadlock, "find", lambda _table, _waiter: [])


def server_that_tells_grants_twice(patch: Patch) -> None:
    push = Outbox.push

    def twice(self: Outbox, happening: Any) -> None:
        push(self, happening)
        if isinstance(happening, Granted):
            push(self, happening)

    patch.setattr(Outbox, "push", twice)


def server_that_remembers_ended_sessions(patch: Patch) -> None:
    patch.setattr(Beginnings, "_forget", lambda _self, _session: None)


def server_that_frees_without_asking(patch: Patch) -> None:
    """What a session has is deleted when it ends here, whoever resumed it meanwhile."""

    async def free(self: Session, *, lost: bool) -> None:
        live = self._host.table.sessions.get(self.attachment.session)
        if live is not None:
            self._host.orphans._free(live, [])

    patch.setattr(Session, "_free", free)


def write_that_forgets_its_guard(patch: Patch) -> None:
    """A server from which the session was taken over, and which has not heard of it, goes on to write for it."""

    def attached(self: MemoryStore, attachment: Attachment) -> bool:
        return attachment.session in self._sessions

    patch.setattr(MemoryStore, "_attached", attached)
    patch.setattr(Session, "superseded", lambda _self: None)


def release_that_forgets_its_guard(patch: Patch) -> None:
    """It deletes whatever its session has on that name, a later grant or not."""
    delete = MemoryStore._delete_entry

    def forgetful(self: MemoryStore, proposal: Any) -> Any:
        queue = self._entries.get(proposal.name, {}).values()
        mine = [put for put in queue if put.session == proposal.attachment.session]
        last = {"slot": slot_of(mine[-1].key), "token": mine[-1].token} if mine else {}
        return delete(self, proposal._replace(**last))

    patch.setattr(MemoryStore, "_delete_entry", forgetful)


def session_that_ends_without_its_guard(patch: Patch) -> None:
    """Its record is deleted and its entries with it, whoever attached it meanwhile."""
    apply, ended = MemoryStore._apply, Orphans.ended

    def unguarded(self: MemoryStore, proposal: Any) -> Any:
        known = self._sessions.get(proposal.attachment.session) if isinstance(proposal, DeleteSession) else None
        if known is not None:
            proposal = DeleteSession(Attachment(known.session, known.attached_at))
        return apply(self, proposal)

    def at_once(self: Orphans, session: int, *proven: Any, **evicted: Any) -> None:
        live = self._table.sessions.get(session)
        if live is not None and session in self._endings:
            known = self._endings[session]
            self._endings[session] = [ending._replace(attached_at=live.attached_at) for ending in known]
        ended(self, session, *proven, **evicted)

    patch.setattr(MemoryStore, "_apply", unguarded)
    patch.setattr(Orphans, "ended", at_once)


def server_that_trusts_etcd_to_end_leases_in_time(patch: Patch) -> None:
    """Nobody waits until the holder cannot believe in it any more."""
    free_later = Orphans._free_later
    patch.setattr(Orphans, "_free_later", lambda self, live, _proven: free_later(self, live, 0.0))


CALM: tuple[str, ...] = ()
ANY = None
RESUMES = ("break a stream", "lose a direction", "freeze a server", "stall a watch")
APART = ("isolate somebody", "freeze a client", "kill a server")
ETCD = ("lossy etcd", "pause etcd")
EARLY = ("end a lease early", "stall a watch", "cut off from etcd")
ASLEEP = ("suspend a client", "suspend a server", "isolate somebody")

PLANTS: list[tuple[Plant, Sequence[str] | None, str]] = [
    (client_that_ignores_its_deadline, APART, "believed"),
    (clocks_that_stand_still_with_their_machine, ASLEEP, "believed"),
    (client_that_keeps_what_it_released, RESUMES, "took|not done"),
    (client_that_holds_what_it_lost, ANY, "believed"),
    (fold_that_grants_two_writers, ANY, "believed"),
    (fold_that_lets_readers_join_writers, ANY, "believed|handed out"),
    (fold_that_grants_one_permit_too_many, ANY, "permits"),
    (fold_that_upgrades_beside_readers, CALM, "believed|handed out"),
    (fold_that_grants_the_last_first, CALM, "handed out|at revision"),
    (fold_that_forgets_a_grant, ANY, "not done|took"),
    (server_that_proves_more_than_it_knows, APART, "believed|still has sessions|handed out"),
    (server_that_grants_without_proof, ANY, "believed|StaleToken|NotHeld"),
    (server_that_never_ends_a_wait, CALM, "took"),
    (server_that_sees_no_deadlock, CALM, "not done"),
    (server_that_tells_grants_twice, ANY, "told again"),
    (server_that_remembers_ended_sessions, ANY, "still has sessions"),
    (server_that_frees_without_asking, RESUMES, "gone from etcd"),
    (write_that_forgets_its_guard, RESUMES, "gone from etcd|NotHeld"),
    (release_that_forgets_its_guard, ANY, "gone from etcd|NotHeld|took|not done|RemovedExternally"),
    (session_that_ends_without_its_guard, RESUMES, "gone from etcd"),
    (server_that_trusts_etcd_to_end_leases_in_time, EARLY, "gone from etcd|believed"),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("plant", "kinds", "complaint"), PLANTS, ids=[plant.__name__ for plant, *_ in PLANTS])
def test_a_planted_defect_is_found(
    plant: Plant, kinds: Sequence[str] | None, complaint: str, monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    for seed in range(1, SEEDS + 1):
        violations = World(seed, kinds=kinds).run(STEPS).violations
        if violations:
            assert re.search(complaint, violations[0]), violations
            return
    pytest.fail(f"not found within {SEEDS} seeds: {inspect.getdoc(plant) or plant.__name__}")


@pytest.mark.parametrize(
    "kinds", [CALM, RESUMES, ETCD, ASLEEP, EARLY], ids=["calm", "resumes", "etcd", "asleep", "early"]
)
def test_nothing_is_found_where_nothing_is_planted(kinds: Sequence[str]) -> None:
    for seed in range(1, 31):
        assert not World(seed, kinds=kinds).run(STEPS).violations
