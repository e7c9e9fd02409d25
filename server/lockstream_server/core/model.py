"""The nouns: modes, entries and the records that etcd keeps."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from lockstream_server.core.errors import invalid

MAX_NAME_BYTES = 512
"""The longest lock name, in bytes of UTF-8."""

MAX_ID = 2**63 - 1
"""The largest acquire identifier and fencing token: what etcd's signed revisions and JSON readers can hold."""


class Mode(Enum):
    """What an entry may be granted beside; `core.rules` has one rule for each."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"
    PERMITS = "permits"
    UPGRADE = "upgrade"
    """A shared hold that is to become exclusive."""


class Terms(NamedTuple):
    """What an acquire says beyond its mode. Most say nothing of it; see `PLAIN`."""

    permits: int = 0
    """How many permits it takes."""
    limit: int = 0
    """How many permits the name has, according to it."""
    parts: int = 0
    """How many names the acquire has, if it has several: with fewer entries than that it is lost."""
    upgrades: int = 0
    """The token of the shared hold that an upgrade is for."""
    value: bytes = b""
    metadata: Mapping[str, str] = MappingProxyType({})
    max_hold: float = 0.0
    """Seconds; 0 for no limit."""
    yield_notice: float = 0.0
    """Seconds before the end of the longest hold at which the holder is asked to yield."""
    held_until: float = 0.0
    """Seconds since the epoch at which a limited hold ends; 0 before it was granted."""
    lock_delay: float = 0.0
    """Seconds for which the name stays taken once the session is lost."""
    asks_yield: bool = False
    """Whether this waiter has asked the holders to yield."""


PLAIN = Terms()


class EvictionKind(Enum):
    """What ended a hold."""

    FORCE_RELEASED = "force released"
    MAX_HOLD_EXCEEDED = "max hold exceeded"


class EntryRecord(NamedTuple):
    """What etcd keeps of one acquire."""

    acquire: int
    """The identifier its client gave it, from 1."""
    mode: Mode = Mode.EXCLUSIVE
    owner: str = ""
    queued_at: float = 0.0
    """Seconds since the epoch by the proposing server's wall clock; for people to read, nothing depends on it."""
    terms: Terms = PLAIN
    ttl: int = 0
    """Seconds; that of its session. For so long its holder may believe in it when the session's record is gone."""

    def asks_for(self) -> tuple[object, ...]:
        """What tells one acquire from another: on whose behalf it asks for what."""
        terms = self.terms
        return self.owner, self.mode, terms.permits, terms.limit, terms.parts, terms.upgrades


class EvictionRecord(NamedTuple):
    """That a hold, or a whole session, was ended by somebody else than its client."""

    kind: EvictionKind
    session: int
    """The lease; 0 for a foreign entry."""
    name: str
    """Empty for a whole session."""
    acquire: int
    """0 for a whole session."""
    token: int
    """The fencing token; 0 for a whole session."""
    reason: str
    actor: str
    at: float
    """Seconds since the epoch by the wall clock of the server that did it."""


class SessionRecord(NamedTuple):
    """What etcd keeps of one session, under its lease."""

    client_name: str
    metadata: Mapping[str, str]
    ttl: int
    """Seconds; the TTL that etcd granted."""
    grace: float
    """Seconds for which the session is kept when its stream breaks; at most the TTL."""
    heartbeats: bool
    """Whether the client promised a heartbeat per TTL."""
    token_hash: str
    """SHA-256 of the resume token, in hexadecimal digits."""
    server: str
    """The server it was last attached to."""
    generation: int
    """How often it was attached, from 1."""
    opened_at: float
    """Seconds since the epoch by the wall clock of the server which opened it."""
    nonce: str = ""
    """Random and new at each attachment: a server that repeats a write knows by it whether the one there is its own."""


class Entry:
    """One acquire in the queue of its lock, as the fold sees it.

    `session` is None for a foreign key, one that something other than this service wrote.
    """

    __slots__ = ("granted", "granted_at", "key", "name", "record", "session", "token")

    def __init__(self, name: str, key: str, session: int | None, record: EntryRecord, token: int) -> None:
        self.name = name
        self.key = key
        """The last part of the etcd key; unique within the name."""
        self.session = session
        self.record = record
        self.token = token
        """The fencing token: the revision that created the entry."""
        self.granted = False
        self.granted_at: float | None = None
        """When this server folded the grant, by its wall clock; None if it was granted before."""

    @property
    def order(self) -> tuple[int, str]:
        """What queues are sorted by: etcd's commit order, then the key for entries of one transaction."""
        return (self.token, self.key)

    def __repr__(self) -> str:
        state = "held" if self.granted else "waiting"
        return f"<{self.name}/{self.key} {self.record.mode.value} {state} token={self.token}>"


FOREIGN = EntryRecord(acquire=0)
"""What stands for the value of a foreign entry: it counts as exclusive."""


def check_name(name: str) -> None:
    """Refuse a lock name that is empty, too long or not UTF-8.

    Raises LockError (INVALID_ARGUMENT).
    """
    if not name:
        raise invalid("name", "must not be empty")
    try:
        size = len(name) if name.isascii() else len(name.encode())
    except UnicodeEncodeError:
        raise invalid("name", "is not UTF-8") from None
    if size > MAX_NAME_BYTES:
        raise invalid("name", f"is longer than {MAX_NAME_BYTES} bytes of UTF-8")


def session_text(session: int) -> str:
    """A session's public name: its lease as 16 hexadecimal digits."""
    return f"{session:016x}"


def parse_session(text: str) -> int | None:
    """The session named by 16 lower-case hexadecimal digits, or None if it is no such name."""
    if len(text) != 16:
        return None
    try:
        session = int(text, 16)
    except ValueError:
        return None
    return session if 0 < session <= MAX_ID and session_text(session) == text else None
