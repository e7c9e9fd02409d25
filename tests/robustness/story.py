"""The records of a run put together: operations, beliefs, what etcd did, what the registers took."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.robustness.history import (
    Believed,
    Changed,
    Completed,
    Died,
    Disbelieved,
    End,
    Finished,
    Healed,
    HistoryBegan,
    Impossible,
    Injected,
    Invoked,
    Observed,
    Opened,
    Outcome,
    Part,
    Proven,
    Record,
    Stalled,
    Stepped,
    Wrote,
    read_directory,
)

NOT_RECORDED = HistoryBegan(0.0, 0, "/lockstream/")
"""Where etcd's history begins that was not recorded."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Something a client asked for."""

    client: str
    number: int
    kind: str
    session: str
    parts: tuple[Part, ...]
    owner: str
    wait: float | None
    invoked: float
    completed: float = math.inf
    """Infinite when the client never got an answer: it was killed."""
    outcome: Outcome = Outcome.UNKNOWN
    reason: str = ""
    token: int = 0

    @property
    def names(self) -> str:
        """For people."""
        return ", ".join(part.name for part in self.parts)


@dataclass(frozen=True, slots=True)
class Belief:
    """That a client believed, from when until when, that it held a name."""

    client: str
    number: int
    session: str
    owner: str
    part: Part
    token: int
    begun: float
    ended: float
    """The first moment at which it knew better, or its process was gone; infinite when there was none."""
    end: End
    reason: str = ""
    stands_on: int = 0

    @property
    def name(self) -> str:
        """The lock."""
        return self.part.name

    @property
    def mode(self) -> str:
        """`exclusive`, `shared` or `permits`."""
        return self.part.mode

    def __str__(self) -> str:
        """For people."""
        return (
            f"{self.client} (session {self.session}, token {self.token}, {self.mode}) "
            f"from {self.begun:.3f} to {self.ended:.3f} ({self.end.value}{self.reason and f': {self.reason}'})"
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was broken."""

    kind: str
    target: str
    since: float
    until: float
    """Infinite when it was not healed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that is known of a run. Sequences are in the order of time."""

    operations: Sequence[Operation] = ()
    beliefs: Sequence[Belief] = ()
    sessions: Mapping[str, Opened] = field(default_factory=dict)
    began: HistoryBegan = NOT_RECORDED
    changes: Sequence[Changed] = ()
    """etcd's history, in its order."""
    writes: Sequence[Wrote] = ()
    """In the order in which the registers took or refused them."""
    faults: Sequence[Fault] = ()
    impossible: Sequence[Impossible] = ()
    """Those that did not come about."""
    stalls: Mapping[str, Sequence[Stalled]] = field(default_factory=dict)
    """By client."""
    clock_steps: Sequence[Stepped] = ()
    """Of the wall clocks of clients, as they saw them themselves."""
    finished: Mapping[str, Finished] = field(default_factory=dict)
    """The processes of clients that ended in good order."""
    deaths: Mapping[str, float] = field(default_factory=dict)
    """When the process of a client was killed."""
    observations: Mapping[tuple[str, int], Sequence[Observed]] = field(default_factory=dict)
    """What each watch told, by client and number."""


def read(directory: Path) -> Story:
    """Put together what the processes of a run recorded in a folder. Raises DamagedRecordError."""
    return assemble(read_directory(directory))


def assemble(records: Mapping[str, Iterable[Record]]) -> Story:
    """Put together the records of a run, by process."""
    by_process = {process: tuple(of_process) for process, of_process in records.items()}
    deaths: dict[str, float] = {}
    for record in (record for of_process in by_process.values() for record in of_process):
        if isinstance(record, Died):
            deaths[record.client] = min(record.at, deaths.get(record.client, math.inf))
    operations: list[Operation] = []
    beliefs: list[Belief] = []
    sessions: dict[str, Opened] = {}
    stalls: dict[str, list[Stalled]] = defaultdict(list)
    clock_steps: list[Stepped] = []
    finished: dict[str, Finished] = {}
    writes: list[Wrote] = []
    changes: list[Changed] = []
    injected: dict[int, Injected] = {}
    healed: dict[int, float] = {}
    impossible: list[Impossible] = []
    observations: dict[tuple[str, int], list[Observed]] = defaultdict(list)
    began = NOT_RECORDED
    for client, of_process in by_process.items():
        operations += _operations(client, of_process)
        beliefs += _beliefs(client, of_process, deaths.get(client, math.inf))
        for record in of_process:
            match record:
                case Opened():
                    sessions[record.session] = record
                case Stalled():
                    stalls[client].append(record)
                case Stepped():
                    clock_steps.append(record)
                case Finished():
                    finished[client] = record
                case Wrote():
                    writes.append(record)
                case HistoryBegan():
                    began = record
                case Changed():
                    changes.append(record)
                case Injected():
                    injected[record.fault] = record
                case Healed():
                    healed[record.fault] = record.at
                case Impossible():
                    impossible.append(record)
                case Observed():
                    observations[client, record.watch].append(record)
                case _:
                    pass  # what clients did is read above
    faults = [
        Fault(fault.kind, fault.target, fault.at, healed.get(number, math.inf)) for number, fault in injected.items()
    ]
    return Story(
        operations=sorted(operations, key=lambda operation: operation.invoked),
        beliefs=sorted(beliefs, key=lambda belief: belief.begun),
        sessions=sessions,
        began=began,
        changes=changes,
        writes=writes,
        faults=sorted(faults, key=lambda fault: fault.since),
        impossible=impossible,
        stalls=stalls,
        clock_steps=clock_steps,
        finished=finished,
        deaths=deaths,
        observations=observations,
    )


def _operations(client: str, records: Iterable[Record]) -> Iterable[Operation]:
    invoked: dict[int, Invoked] = {}
    completed: dict[int, Completed] = {}
    for record in records:
        if isinstance(record, Invoked):
            invoked[record.op] = record
        elif isinstance(record, Completed):
            completed[record.op] = record
    for number, asked in invoked.items():
        answer = completed.get(number, Completed(math.inf, number, Outcome.UNKNOWN))
        yield Operation(
            client=client,
            number=number,
            kind=asked.kind,
            session=asked.session,
            parts=asked.parts,
            owner=asked.owner,
            wait=asked.wait,
            invoked=asked.at,
            completed=answer.at,
            outcome=answer.outcome,
            reason=answer.reason,
            token=answer.token or asked.token,
        )


def _beliefs(client: str, records: Sequence[Record], died: float) -> Iterable[Belief]:
    proofs: dict[str, list[Proven]] = defaultdict(list)
    told: dict[int, Disbelieved] = {}
    for record in records:
        if isinstance(record, Proven):
            proofs[record.session].append(record)
        elif isinstance(record, Disbelieved):
            told.setdefault(record.belief, record)
    expiries = {session: expiry(of_session) for session, of_session in proofs.items()}
    for record in records:
        if isinstance(record, Believed):
            ends = [(died, End.DIED, ""), (expiries.get(record.session, math.inf), End.DEADLINE, "")]
            if (other := told.get(record.belief)) is not None:
                ends.append((other.at, other.end, other.reason))
            ended, end, reason = min(ends, key=lambda known: known[0])
            for part in record.parts:
                yield Belief(
                    client=client,
                    number=record.belief,
                    session=record.session,
                    owner=record.owner,
                    part=part,
                    token=record.token,
                    begun=record.at,
                    ended=max(ended, record.at),
                    end=end if ended < math.inf else End.OPEN,
                    reason=reason,
                    stands_on=record.stands_on,
                )


def expiry(proofs: Iterable[Proven]) -> float:
    """When the local deadline of a session passed for the first time; infinite without any deadline.

    A deadline that was found to have moved on counts as moved in time, at whatever moment in between that was. One
    that moved to the past ends what is believed when it was found there.
    """
    until = math.inf
    for proof in proofs:
        if until <= proof.since:
            break
        until = max(proof.until, proof.at)
        if until == proof.at:
            break
    return until
