"""What is recorded of a run, by whom, and how it is kept on disk.

Each process writes a file of its own, `<process>.jsonl`, one record per line, each line with one unbuffered write as
soon as it is true: a SIGKILL costs at most the line being written. All times are CLOCK_MONOTONIC in seconds, which the
processes of one machine share.

What a client does is two lines, one before anything is sent and one after the answer was read. `tests.robustness.story`
puts them together into what the checks look at.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

ETCD = "etcd"
"""The process that records etcd's history, by the name of its file."""


ABANDONED = "abandoned"
"""The reason of those who stopped believing because they left their session without a word."""


class Part(NamedTuple):
    """One name that is asked for, and how."""

    name: str
    mode: str = "exclusive"
    """`exclusive`, `shared` or `permits`."""
    permits: int = 0
    limit: int = 0


class Outcome(StrEnum):
    """What is known of an operation."""

    OK = "ok"
    FAILED = "failed"
    """It had no effect, and will have none."""
    UNKNOWN = "unknown"


class End(StrEnum):
    """What ended a belief."""

    RELEASED = "released"
    """The holder asked for its release, its downgrade or the end of its session."""
    LOST = "lost"
    """It was told."""
    DEADLINE = "deadline"
    """Its own clock told it."""
    DIED = "died"
    """The process is gone."""
    OPEN = "open"
    """Nothing did."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session was opened."""

    at: float
    session: str
    ttl: float
    grace: float


@dataclass(frozen=True, slots=True)
class Invoked:
    """A client is about to ask for something."""

    at: float
    op: int
    """Counts the operations of this process."""
    kind: str
    session: str = ""
    acquire: int = 0
    """The acquire's identifier, where the client knows it; 0 elsewhere."""
    parts: tuple[Part, ...] = ()
    owner: str = ""
    token: int = 0
    wait: float | None = None
    """Seconds; 0 does not wait, None waits for ever."""


@dataclass(frozen=True, slots=True)
class Completed:
    """It was answered, or given up."""

    at: float
    op: int
    outcome: Outcome
    reason: str = ""
    token: int = 0


@dataclass(frozen=True, slots=True)
class Believed:
    """A client was told that it holds."""

    at: float
    belief: int
    """Counts the beliefs of this process, from 1."""
    session: str
    acquire: int
    parts: tuple[Part, ...]
    owner: str
    token: int
    stands_on: int = 0
    """The belief in the shared hold that this one is the upgrade of."""


@dataclass(frozen=True, slots=True)
class Disbelieved:
    """A client stopped believing that it holds, because of something other than its clock."""

    at: float
    belief: int
    end: End
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Proven:
    """The local deadline of a session became another.

    When exactly is not known to whoever looks from outside: after `since`, at which it was as before, not after `at`.
    """

    at: float
    since: float
    session: str
    until: float


@dataclass(frozen=True, slots=True)
class Stalled:
    """The process did not run in between: it was stopped, or the machine was busy."""

    at: float
    since: float


@dataclass(frozen=True, slots=True)
class Stepped:
    """The wall clock of the process was set to another time, by so many seconds: negative is back."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A client's process has closed everything in good order, and is about to end."""

    at: float
    tasks: tuple[str, ...]
    """The asyncio tasks, other than the main one, that are there nevertheless."""


@dataclass(frozen=True, slots=True)
class Died:
    """A client's process was about to be killed, or to leave without a word."""

    at: float
    client: str


@dataclass(frozen=True, slots=True)
class Wrote:
    """A write to one of the registers, as the register saw it."""

    at: float
    fenced: bool
    name: str
    token: int
    value: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class HistoryBegan:
    """The record of etcd's history begins after this revision, at which there was nothing under the prefix."""

    at: float
    revision: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Changed:
    """One event of etcd's own history. `at` is when it was read, which is after it was committed."""

    at: float
    revision: int
    key: str
    """Bytes as Latin-1."""
    value: str | None
    """Bytes as Latin-1; None for a deletion."""
    create_revision: int
    version: int
    """Counts the writes of a key since it was created; 0 for a deletion. A gap in the record shows in it."""


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault begins."""

    at: float
    fault: int
    """Counts the faults of a run."""
    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class Healed:
    """A fault is over. One that has no duration heals as it begins."""

    at: float
    fault: int


@dataclass(frozen=True, slots=True)
class Impossible:
    """A fault that was due could not be injected as things were."""

    at: float
    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What a watch told of one revision: first a snapshot, then every change."""

    at: float
    watch: int
    prefix: str
    """Of the names that are watched."""
    revision: int
    snapshot: bool
    told: tuple[tuple[str, str, int], ...]
    """(what, name, token) each; of a snapshot `held` or `waiting`."""


Record = (
    Opened
    | Invoked
    | Completed
    | Believed
    | Disbelieved
    | Proven
    | Stalled
    | Stepped
    | Finished
    | Died
    | Wrote
    | HistoryBegan
    | Changed
    | Injected
    | Healed
    | Impossible
    | Observed
)

KINDS: dict[str, Any] = {kind.__name__: kind for kind in Record.__args__}


class DamagedRecordError(Exception):
    """A line that is not the last of its file cannot be read."""


class Notebook:
    """The file of one process. A context manager.

    Args:
        directory: where the files of the run are.
        process: the name of the process, which becomes that of the file. No two of a run have the same.
    """

    def __init__(self, directory: Path, process: str) -> None:
        self.process = process
        self._file = (directory / f"{process}.jsonl").open("xb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def write(self, *records: Record) -> None:
        """Append records, with one write for all."""
        os.write(self._file.fileno(), b"".join(map(encode, records)))


def now() -> float:
    """CLOCK_MONOTONIC in seconds."""
    return time.monotonic()


def encode(record: Record) -> bytes:
    """A record as a line."""
    return orjson.dumps({type(record).__name__: record}, default=tuple, option=orjson.OPT_APPEND_NEWLINE)


def decode(line: bytes) -> Record:
    """A line as a record. Raises ValueError, KeyError or TypeError."""
    [(kind, fields)] = orjson.loads(line).items()
    if "parts" in fields:
        fields["parts"] = tuple(Part(*part) for part in fields["parts"])
    if "told" in fields:
        fields["told"] = tuple((str(what), str(name), int(token)) for what, name, token in fields["told"])
    if "tasks" in fields:
        fields["tasks"] = tuple(fields["tasks"])
    if "outcome" in fields:
        fields["outcome"] = Outcome(fields["outcome"])
    if "end" in fields:
        fields["end"] = End(fields["end"])
    record: Record = KINDS[kind](**fields)
    return record


def read_file(path: Path) -> Iterator[Record]:
    """The records of one process. A last line that was cut off is left out.

    Raises DamagedRecordError when any other cannot be read.
    """
    *lines, _cut_off = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            yield decode(line)
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedRecordError(f"{path.name}, line {number}: {error}") from error


def read_directory(directory: Path) -> dict[str, Sequence[Record]]:
    """The records of all processes of a run, by process. Raises DamagedRecordError."""
    return {path.stem: list(read_file(path)) for path in sorted(directory.glob("*.jsonl"))}
