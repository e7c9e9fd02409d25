"""How sessions and entries are written as etcd keys and values.

    <prefix>s/<session>                            SessionRecord
    <prefix>l/<escaped name>/<session>.<slot>      EntryRecord

A slot tells apart the entries which a session has on one name; it is used again once it is free. For etcd keeps a trace
of every key that it deleted until the next compaction, and whoever counts the keys of a lock has to walk over them all.

The session is 16 hexadecimal digits. Names are percent-encoded but for unreserved characters (RFC 3986), so that no
name is a prefix of another and people can read the keys. Values are JSON. Any other key below `l/<escaped name>/` is a
foreign entry: whoever wrote it, such as etcd's own mutex recipe, excludes ours and is excluded by them.
"""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

import orjson

from lockstream_server.core.model import (
    MAX_ID,
    MAX_NAME_BYTES,
    EntryRecord,
    Mode,
    SessionRecord,
    parse_session,
    session_text,
)


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


def range_end(prefix: bytes) -> bytes:
    """The first key after all that begin with the prefix, which must not end with 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class EntryKey(NamedTuple):
    """A parsed key below `l/`. `session` is None if it is foreign."""

    name: str
    key: str
    session: int | None


class SessionKey(NamedTuple):
    """A parsed key below `s/`."""

    session: int


class Keys:
    """The key space under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()
        """Everything of ours begins with this."""
        self.end = range_end(self.prefix)
        self._locks = self.prefix + b"l/"
        self._sessions = self.prefix + b"s/"
        self.parse = lru_cache(maxsize=4096)(self._parse)
        """What a key under the prefix stands for; None if for nothing of ours. Keys come again and again."""

    def session(self, session: int) -> bytes:
        """The key of a session record."""
        return b"%s%016x" % (self._sessions, session)

    def entry(self, name: str, session: int, slot: int) -> bytes:
        """The key of an entry."""
        return b"%s%s/%016x.%d" % (self._locks, escape(name).encode(), session, slot)

    def lock(self, name: str) -> bytes:
        """What the keys of all entries of a lock begin with."""
        return b"%s%s/" % (self._locks, escape(name).encode())

    def _parse(self, key: bytes) -> EntryKey | SessionKey | None:
        try:
            if key.startswith(self._locks):
                return self._parse_entry(key[len(self._locks) :].decode())
            if key.startswith(self._sessions):
                session = parse_session(key[len(self._sessions) :].decode())
                return SessionKey(session) if session is not None else None
        except UnicodeDecodeError:
            pass
        return None

    @staticmethod
    def _parse_entry(text: str) -> EntryKey | None:
        escaped, slash, key = text.partition("/")
        name = unescape(escaped)
        if name is None or not slash:
            return None
        own = _OWN_ENTRY.fullmatch(key)
        if own is not None:
            session = int(own[1], 16)
            if 0 < session <= MAX_ID:
                return EntryKey(name, key, session)
        return EntryKey(name, key, None)


_OWN_ENTRY = re.compile(r"([0-9a-f]{16})\.(?:0|[1-9][0-9]{0,8})")

_MODES = {mode.value: mode for mode in Mode}


def encode_entry(record: EntryRecord) -> bytes:
    """An entry's value."""
    return orjson.dumps(
        {
            "acquire": record.acquire,
            "mode": record.mode.value,
            "owner": record.owner,
            "queued_at": round(record.queued_at, 3),
        }
    )


def decode_entry(value: bytes) -> EntryRecord | None:
    """The record in an entry's value; None if this service cannot have written it."""
    try:
        fields = orjson.loads(value)
        acquire = int(fields["acquire"])
        if not 0 < acquire <= MAX_ID:
            return None
        return EntryRecord(acquire, _MODES[fields["mode"]], str(fields["owner"]), float(fields["queued_at"]))
    except (ValueError, KeyError, TypeError, AttributeError):
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
            ttl=int(fields["ttl"]),
            grace=float(fields["grace"]),
            heartbeats=bool(fields["heartbeats"]),
            token_hash=str(fields["token_hash"]),
            server=str(fields["server"]),
            generation=int(fields["generation"]),
            opened_at=float(fields["opened_at"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def entry_id(session: int, slot: int) -> str:
    """The last part of an entry's key."""
    return f"{session_text(session)}.{slot}"


def slot_of(key: str) -> int:
    """The slot in the last part of the key of an entry of ours."""
    return int(key.rpartition(".")[2])
