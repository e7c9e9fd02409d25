"""How sessions and entries are written as etcd keys and values.

    <prefix>s/<session>                            SessionRecord
    <prefix>l/<escaped name>/<session>.<slot>      EntryRecord
    <prefix>e/<session>.<acquire>                  EvictionRecord of a hold
    <prefix>e/<session>                            EvictionRecord of a session
    <prefix>fence                                  nothing; written so that a watch comes to pass a revision

A slot tells apart the entries which a session has on one name; it is used again once it is free. For etcd keeps a trace
of every key that it deleted until the next compaction, and whoever counts the keys of a lock has to walk over them all.

The session is 16 hexadecimal digits. Names are percent-encoded but for unreserved characters (RFC 3986), so that no
name is a prefix of another and people can read the keys. Values are JSON. Any other key below `l/<escaped name>/` is a
foreign entry: whoever wrote it, such as etcd's own mutex recipe, excludes ours and is excluded by them.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

import orjson

from lockstream_server.core.model import (
    MAX_ID,
    MAX_NAME_BYTES,
    PLAIN,
    EntryRecord,
    EvictionKind,
    EvictionRecord,
    Mode,
    SessionRecord,
    Terms,
    parse_session,
    session_text,
)

N = TypeVar("N", int, float)

MAX_COUNT = 2**32 - 1
"""What the protocol has room for, of permits for instance."""
MAX_SECONDS = 315_576_000_000
"""The longest google.protobuf.Duration."""
MAX_MOMENT = 253_402_300_799
"""The last google.protobuf.Timestamp, in seconds since the epoch."""


@lru_cache(maxsize=4096)
def escape(name: str) -> str:
    """A lock name as one part of a key."""
    return quote(name, safe="")


@lru_cache(maxsize=4096)
def unescape(text: str) -> str | None:
    """The lock name that is written this way, or None if no name is."""
    if "%" not in text:
        name = text
    else:
        try:
            name = unquote(text, errors="strict")
        except UnicodeDecodeError:
            return None
    if not name or escape(name) != text or len(name.encode()) > MAX_NAME_BYTES:
        return None
    return name


@lru_cache(maxsize=4096)
def range_end(prefix: bytes) -> bytes:
    """The first key after all that begin with the prefix, which must not end with 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class EntryKey(NamedTuple):
    """A parsed key below `l/`. `session` is None if it is foreign."""

    name: str
    key: str
    session: int | None


class OwnEntry(NamedTuple):
    """What the last part of an entry's key says, if the entry is of this service."""

    session: int
    slot: int


class SessionKey(NamedTuple):
    """A parsed key below `s/`."""

    session: int


class EvictionKey(NamedTuple):
    """A parsed key below `e/`."""

    key: str


class Keys:
    """The key space under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()
        """Everything of ours begins with this."""
        self.end = range_end(self.prefix)
        self.fence = self.prefix + b"fence"
        """A key that means nothing to anybody."""
        self._locks = self.prefix + b"l/"
        self._sessions = self.prefix + b"s/"
        self._evictions = self.prefix + b"e/"
        # Keys come again and again.
        self.parse = lru_cache(maxsize=4096)(self._parse)
        """What a key under the prefix stands for; None if for nothing of ours."""
        self.session = lru_cache(maxsize=4096)(self._session)
        """The key of a session record."""
        self.entry = lru_cache(maxsize=4096)(self._entry)
        """The key of an entry, of a lock, a session and a slot."""
        self.lock = lru_cache(maxsize=4096)(self._lock)
        """What the keys of all entries of a lock begin with."""

    def _entry(self, name: str, session: int, slot: int) -> bytes:
        return b"%s%s/%016x.%d" % (self._locks, escape(name).encode(), session, slot)

    def entry_at(self, name: str, key: str) -> bytes:
        """The key of any entry, given its last part."""
        return b"%s%s" % (self.lock(name), key.encode())

    def eviction(self, key: str) -> bytes:
        """The key of an eviction's record."""
        return self._evictions + key.encode()

    def _lock(self, name: str) -> bytes:
        return b"%s%s/" % (self._locks, escape(name).encode())

    def _session(self, session: int) -> bytes:
        return b"%s%016x" % (self._sessions, session)

    def _parse(self, key: bytes) -> EntryKey | SessionKey | EvictionKey | None:
        try:
            if key.startswith(self._locks):
                return self._parse_entry(key[len(self._locks) :].decode())
            if key.startswith(self._sessions):
                session = parse_session(key[len(self._sessions) :].decode())
                return SessionKey(session) if session is not None else None
            if key.startswith(self._evictions):
                return EvictionKey(key[len(self._evictions) :].decode())
        except UnicodeDecodeError:
            pass
        return None

    @staticmethod
    def _parse_entry(text: str) -> EntryKey | None:
        escaped, slash, key = text.partition("/")
        name = unescape(escaped)
        if name is None or not slash:
            return None
        own = own_entry(key)
        return EntryKey(name, key, own.session if own is not None else None)


_MODES = {mode.value: mode for mode in Mode}


def encode_entry(record: EntryRecord) -> bytes:
    """An entry's value."""
    fields: dict[str, Any] = {
        "acquire": record.acquire,
        "mode": record.mode.value,
        "owner": record.owner,
        "queued_at": record.queued_at,
        "ttl": record.ttl,
    }
    if record.terms is not PLAIN:
        fields["terms"] = _encode_terms(record.terms)
    return orjson.dumps(fields)


def decode_entry(value: bytes) -> EntryRecord | None:
    """The record in an entry's value; None if this service cannot have written it."""
    try:
        fields = orjson.loads(value)
        acquire = int(fields["acquire"])
        if not 0 < acquire <= MAX_ID:
            return None
        terms = _decode_terms(fields["terms"]) if "terms" in fields else PLAIN
        queued_at = _within(float(fields["queued_at"]), MAX_MOMENT)
        ttl = _within(int(fields["ttl"]), MAX_SECONDS)
        return EntryRecord(acquire, _MODES[fields["mode"]], str(fields["owner"]), queued_at, terms, ttl)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _encode_terms(terms: Terms) -> dict[str, Any]:
    """Only what differs from saying nothing."""
    stated = {name: value for name, value, plain in zip(Terms._fields, terms, PLAIN, strict=True) if value != plain}
    if terms.value:
        stated["value"] = b64encode(terms.value).decode()
    if terms.metadata:
        stated["metadata"] = dict(terms.metadata)
    return stated


def _decode_terms(fields: dict[str, Any]) -> Terms:
    stated = {
        name: _within(type(getattr(PLAIN, name))(value), _PLAIN_TERMS[name])
        for name, value in fields.items()
        if name in _PLAIN_TERMS
    }
    if "value" in fields:
        stated["value"] = b64decode(fields["value"], validate=True)
    if "metadata" in fields:
        stated["metadata"] = {str(key): str(text) for key, text in fields["metadata"].items()}
    return Terms(**stated)


_PLAIN_TERMS: Mapping[str, float] = {
    "permits": MAX_COUNT,
    "limit": MAX_COUNT,
    "parts": MAX_COUNT,
    "upgrades": MAX_ID,
    "max_hold": MAX_SECONDS,
    "yield_notice": MAX_SECONDS,
    "held_until": MAX_MOMENT,
    "lock_delay": MAX_SECONDS,
    "asks_yield": True,
}
"""Those whose values JSON has as they are, and the largest that each can have."""


def _within(number: N, most: float) -> N:
    """A number that can be shown. Raises ValueError for one that is negative, larger, or none at all."""
    if not 0 <= number <= most:
        raise ValueError
    return number


def encode_eviction(record: EvictionRecord) -> bytes:
    """An eviction's value."""
    return orjson.dumps(record._replace(kind=record.kind.value)._asdict())  # type: ignore[arg-type]  # as JSON has it


def decode_eviction(value: bytes) -> EvictionRecord | None:
    """The record in an eviction's value; None if this service cannot have written it."""
    try:
        fields = orjson.loads(value)
        return EvictionRecord(
            kind=EvictionKind(fields["kind"]),
            session=_within(int(fields["session"]), MAX_ID),
            name=str(fields["name"]),
            acquire=_within(int(fields["acquire"]), MAX_ID),
            token=_within(int(fields["token"]), MAX_ID),
            reason=str(fields["reason"]),
            actor=str(fields["actor"]),
            at=_within(float(fields["at"]), MAX_MOMENT),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def encode_session(record: SessionRecord) -> bytes:
    """A session record's value."""
    return orjson.dumps(record._asdict())


def decode_session(value: bytes) -> SessionRecord | None:
    """The record in a session's value; None if this service cannot have written it."""
    try:
        fields = orjson.loads(value)
        return SessionRecord(
            client_name=str(fields["client_name"]),
            metadata={str(key): str(text) for key, text in fields["metadata"].items()},
            ttl=_within(int(fields["ttl"]), MAX_SECONDS),
            grace=_within(float(fields["grace"]), MAX_SECONDS),
            heartbeats=bool(fields["heartbeats"]),
            token_hash=str(fields["token_hash"]),
            server=str(fields["server"]),
            generation=_within(int(fields["generation"]), MAX_ID),
            opened_at=_within(float(fields["opened_at"]), MAX_MOMENT),
            nonce=str(fields["nonce"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def entry_id(session: int, slot: int) -> str:
    """The last part of an entry's key."""
    return f"{session_text(session)}.{slot}"


def eviction_id(record: EvictionRecord) -> str:
    """The last part of the key of an eviction's record."""
    session = session_text(record.session)
    return f"{session}.{record.acquire or record.token}" if record.name else session


_OWN_ENTRY = re.compile(r"([0-9a-f]{16})\.(0|[1-9][0-9]{0,8})")


def own_entry(key: str) -> OwnEntry | None:
    """The last part of an entry's key, parsed; None if the entry is foreign."""
    own = _OWN_ENTRY.fullmatch(key)
    session = int(own[1], 16) if own is not None else 0
    return OwnEntry(session, int(own[2])) if own is not None and 0 < session <= MAX_ID else None


def slot_of(key: str) -> int:
    """The slot in the last part of the key of an entry of ours."""
    return int(key.rpartition(".")[2])
