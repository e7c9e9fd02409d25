"""A lock service in a hundred lines that is right by construction, and the records which a run of it would leave.

It has one queue per name, virtual time, and the rules of `tests.property.naive`. Everything it does takes place in one
step: asked, committed by etcd, seen, told, each a tenth of a second after the other. Checks that find something wrong
with it are wrong themselves; checks that find nothing wrong after a record was tampered with are too.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lockstream_server.core.changes import EntryPut
from lockstream_server.core.model import EntryRecord, EvictionKind, EvictionRecord, Mode, SessionRecord, Terms
from lockstream_server.store.keys import Keys, encode_entry, encode_eviction, encode_session, entry_id, eviction_id
from tests.property.naive import holds, in_order
from tests.robustness.history import (
    Believed,
    Changed,
    Completed,
    Died,
    Disbelieved,
    End,
    HistoryBegan,
    Invoked,
    Observed,
    Opened,
    Outcome,
    Part,
    Proven,
    Record,
    Wrote,
)
from tests.robustness.story import Story, assemble

TTL = 10.0
PREFIX = "/lockstream/"
PREFIX_OF_ALL = ""
"""The watcher watches every name."""
MODES = {"exclusive": Mode.EXCLUSIVE, "shared": Mode.SHARED, "permits": Mode.PERMITS}
Place = tuple[str, str]
"""Name and key."""


@dataclass(eq=False, slots=True)
class Claim:
    """One acquire."""

    client: str
    session: int
    op: int
    owner: str
    parts: tuple[Part, ...]
    token: int
    places: list[Place]
    upgrades: "Claim | None" = None
    upgraded_by: "Claim | None" = None
    belief: int = 0
    delay: float = 0.0
    gone: bool = False


@dataclass(slots=True)
class Model:
    """The service, its clients, and all that they write down."""

    now: float = 100.0
    revision: int = 10
    records: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    claims: list[Claim] = field(default_factory=list)
    sessions: dict[int, str] = field(default_factory=dict)
    """The client of every live session."""
    _keys: Keys = field(default_factory=lambda: Keys(PREFIX))
    _entries: dict[Place, EntryPut] = field(default_factory=dict)
    _versions: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Of every key: how often it was written, and the revision that created it."""
    _held: set[Place] = field(default_factory=set)
    _tokens: dict[Place, int] = field(default_factory=dict)
    """Of those who hold."""
    _newest_write: dict[str, int] = field(default_factory=dict)
    _numbers: int = 0

    def __post_init__(self) -> None:
        """Begin the records."""
        self.records["etcd"].append(HistoryBegan(self.now, self.revision, PREFIX))
        self.records["watcher"].append(Observed(self.now, 1, PREFIX_OF_ALL, self.revision, True, ()))

    def story(self) -> Story:
        """What was recorded so far."""
        return assemble(self.records)

    def held(self) -> list[Claim]:
        """Those who hold and know it."""
        return [claim for claim in self.claims if claim.belief and not claim.gone]

    def waiting(self) -> list[Claim]:
        """Those who wait."""
        return [claim for claim in self.claims if not claim.belief and not claim.gone]

    # What clients do.

    def open(self, client: str) -> int:
        """A session of this client."""
        session = self._number()
        record = SessionRecord(client, {}, int(TTL), TTL, True, "hash", "server", 1, 0.0)
        self._step()
        self.sessions[session] = client
        self._commit({self._keys.session(session): encode_session(record)})
        self.records[client] += [
            Opened(self.now + 0.3, f"{session:016x}", TTL, TTL),
            Proven(self.now + 0.3, self.now, f"{session:016x}", 1e9),
        ]
        return session

    def acquire(self, session: int, *parts: Part, delay: float = 0.0) -> Claim:
        """Ask for names; granted at once if they are free, else when it is their turn."""
        return self._ask(session, parts, delay=delay)

    def upgrade(self, shared: Claim) -> Claim:
        """Ask for a shared hold to become exclusive. Only for one of a single name that nobody waits for."""
        [part] = shared.parts
        claim = self._ask(shared.session, (part._replace(mode="exclusive"),), upgrades=shared)
        shared.upgraded_by = claim
        return claim

    def downgrade(self, claim: Claim) -> None:
        """Make an exclusive hold of one name shared."""
        [(name, key)] = claim.places
        put = self._entries[name, key]
        self._step()
        self._believe_no_more(claim, End.RELEASED, "downgrade")
        claim.parts = (claim.parts[0]._replace(mode="shared"),)
        self._believe(claim, self.now)
        record = put.record._replace(mode=Mode.SHARED, terms=put.record.terms._replace(upgrades=0))
        self._entries[name, key] = put._replace(record=record)
        self._commit({self._keys.entry_at(name, key): encode_entry(record)})

    def release(self, claim: Claim) -> None:
        """Give up a hold, with all it stands on, or a place in the queue."""
        self._step()
        freed = [each for each in (claim, claim.upgrades, claim.upgraded_by) if each is not None and not each.gone]
        for each in freed:
            self._believe_no_more(each, End.RELEASED)
            if not each.belief:
                self._complete(each, Outcome.FAILED, "CANCELLED")
        self._commit({key: None for each in freed for key in self._delete(each)})

    def write(self, claim: Claim) -> None:
        """Write to both registers of a name that is held."""
        self._step()
        for fenced in (True, False):
            for part in claim.parts:
                accepted = not fenced or claim.token >= self._newest_write.get(part.name, 0)
                if fenced and accepted:
                    self._newest_write[part.name] = claim.token
                self.records["registers"].append(Wrote(self.now, fenced, part.name, claim.token, "value", accepted))

    # What happens to them.

    def expire(self, session: int) -> None:
        """The session ends by its clock, and then in etcd."""
        self._step()
        client = self.sessions.pop(session)
        self.records[client].append(Proven(self.now, self.now, f"{session:016x}", self.now + 0.05))
        self._end_session(session)

    def kill(self, client: str) -> None:
        """The process of a client is killed; its sessions end in etcd."""
        self._step()
        self.records["fleet"].append(Died(self.now, client))
        for session in [session for session, whose in self.sessions.items() if whose == client]:
            del self.sessions[session]
            for claim in self._of(session):
                claim.op = 0  # nobody is there to be told anything
            self._end_session(session)

    def evict(self, claim: Claim) -> None:
        """An operator takes a hold away; its holder is told afterwards."""
        self._step()
        changes: dict[bytes, bytes | None] = {}
        for name, key in claim.places:
            token = self._entries[name, key].token
            kind = EvictionKind.FORCE_RELEASED
            record = EvictionRecord(kind, claim.session, name, claim.op, token, "stuck", "operator", 0.0)
            changes[self._keys.eviction(eviction_id(record))] = encode_eviction(record)
        lost = [each for each in (claim, claim.upgrades, claim.upgraded_by) if each is not None and not each.gone]
        for each in lost:
            changes |= dict.fromkeys(self._delete(each))
        self._commit(changes)
        for each in lost:
            self._believe_no_more(each, End.LOST, "FORCE_RELEASED", at=self.now + 0.5)
            if not each.belief:
                self._complete(each, Outcome.FAILED, "LOST")

    def _end_session(self, session: int) -> None:
        changes: dict[bytes, bytes | None] = {self._keys.session(session): None}
        delayed = [claim for claim in self._of(session) if claim.delay and claim.belief]
        for claim in self._of(session):
            if not claim.belief and claim.op:
                self._complete(claim, Outcome.UNKNOWN, "SESSION_EXPIRED")
            if claim not in delayed:
                changes |= dict.fromkeys(self._delete(claim))
        self._commit(changes)
        for claim in delayed:
            self.now += claim.delay
            self._commit(dict.fromkeys(self._delete(claim)))

    # How it is done.

    def _of(self, session: int) -> list[Claim]:
        return [claim for claim in self.claims if claim.session == session and not claim.gone]

    def _ask(
        self, session: int, parts: tuple[Part, ...], *, delay: float = 0.0, upgrades: Claim | None = None
    ) -> Claim:
        self._step()
        client, op = self.sessions[session], self._number()
        owner, session_text = f"owner-{op}", f"{session:016x}"
        kind = "upgrade" if upgrades is not None else "acquire" if len(parts) == 1 else "acquire_all"
        self.records[client].append(Invoked(self.now, op, kind, session_text, parts=parts, owner=owner, wait=None))
        claim = Claim(client, session, op, owner, parts, self.revision + 1, [], upgrades=upgrades, delay=delay)
        changes: dict[bytes, bytes | None] = {}
        for part in parts:
            mode = Mode.UPGRADE if upgrades is not None else MODES[part.mode]
            terms = Terms(
                permits=part.permits,
                limit=part.limit,
                parts=len(parts) if len(parts) > 1 else 0,
                upgrades=upgrades.token if upgrades is not None else 0,
                lock_delay=delay,
            )
            record, key = EntryRecord(op, mode, owner, terms=terms), entry_id(session, op)
            self._entries[part.name, key] = EntryPut(part.name, key, session, record, claim.token)
            claim.places.append((part.name, key))
            changes[self._keys.entry_at(part.name, key)] = encode_entry(record)
        self.claims.append(claim)
        self._commit(changes)
        return claim

    def _delete(self, claim: Claim) -> Iterable[bytes]:
        """Take a claim out of its queues; the keys to delete."""
        claim.gone = True
        for place in claim.places:
            del self._entries[place]
            yield self._keys.entry_at(*place)

    def _commit(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write the next revision, and tell whoever is granted by it."""
        self.revision += 1
        for key, value in changes.items():
            version, created = self._versions.pop(key, (0, self.revision))
            written, text = (0, 0), None
            if value is not None:
                written, text = (version + 1, created), value.decode("latin-1")
                self._versions[key] = written
            version, created = written
            change = Changed(self.now + 0.2, self.revision, key.decode("latin-1"), text, created, version)
            self.records["etcd"].append(change)
        held = {
            (put.name, put.key)
            for queue in in_order(self._entries.values()).values()
            for put, holding in zip(queue, holds(queue), strict=True)
            if holding
        }
        self._observe(held)
        for claim in self.claims:
            if not claim.gone and not claim.belief and held.issuperset(claim.places):
                self._grant(claim)

    def _observe(self, held: set[Place]) -> None:
        told = [("RELEASED", name, self._tokens.pop((name, key))) for name, key in self._held - held]
        for place in held - self._held:
            self._tokens[place] = self._entries[place].token
            told.append(("GRANTED", place[0], self._tokens[place]))
        self._held = held
        if told:
            self.records["watcher"].append(
                Observed(self.now + 0.3, 1, PREFIX_OF_ALL, self.revision, False, tuple(told))
            )

    def _grant(self, claim: Claim) -> None:
        self._complete(claim, Outcome.OK, token=claim.token)
        self._believe(claim, self.now + 0.3)

    def _complete(self, claim: Claim, outcome: Outcome, reason: str = "", token: int = 0) -> None:
        self.records[claim.client].append(Completed(self.now + 0.3, claim.op, outcome, reason, token))

    def _believe(self, claim: Claim, at: float) -> None:
        claim.belief = self._number()
        below = claim.upgrades.belief if claim.upgrades is not None else 0
        self.records[claim.client].append(
            Believed(at, claim.belief, f"{claim.session:016x}", claim.op, claim.parts, claim.owner, claim.token, below)
        )

    def _believe_no_more(self, claim: Claim, end: End, reason: str = "", at: float = math.nan) -> None:
        if claim.belief:
            moment = self.now if math.isnan(at) else at
            self.records[claim.client].append(Disbelieved(moment, claim.belief, end, reason))

    def _step(self) -> None:
        self.now += 1.0

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
