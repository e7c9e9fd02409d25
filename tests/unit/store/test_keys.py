"""Keys and values: what is written is read again, and nothing else is mistaken for it."""

import json
from itertools import permutations

import pytest

from lockstream_server.core.model import MAX_ID, EntryRecord, Mode
from lockstream_server.store.keys import (
    EntryKey,
    Keys,
    SessionKey,
    decode_entry,
    decode_session,
    encode_entry,
    encode_session,
    entry_id,
    escape,
    range_end,
    unescape,
)
from tests.support.history import RECORD

NAMES = [
    "a",
    "a/b",
    "/a",
    "a/",
    "/",
    "%2F",
    "%",
    "a%",
    ".",
    "..",
    "A",
    "~",
    "n" * 512,
    "é" * 256,
    "錠",
    "🔒",
    " ",
    "\0",
]
KEYS = Keys("/lockstream/")


def short(value: bytes) -> str:
    """The value, short enough to name a case by."""
    return f"{value[:24].decode(errors='replace')}…{value[-24:].decode(errors='replace')} ({len(value)})"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_it_was_written(name: str) -> None:
    assert unescape(escape(name)) == name
    assert "/" not in escape(name)


@pytest.mark.parametrize("text", ["", "%", "%2", "%2f", "%zz", "%61", "a/b", "é", "%FF", "%C3", "n" * 513, "%00" * 513])
def test_what_no_name_is_written_as_is_no_name(text: str) -> None:
    assert unescape(text) is None


def test_no_name_is_within_the_range_of_another() -> None:
    for name, other in permutations(NAMES, 2):
        start = KEYS.lock(name)
        assert not start <= KEYS.entry(other, 1, 1) < range_end(start)
        assert not start <= KEYS.lock(other) < range_end(start)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_key_is_read_as_it_was_written(name: str) -> None:
    assert KEYS.parse(KEYS.entry(name, MAX_ID, 0)) == EntryKey(name, entry_id(MAX_ID, 0), MAX_ID)
    assert KEYS.parse(KEYS.entry(name, 1, 999)) == EntryKey(name, entry_id(1, 999), 1)


def test_a_session_key_is_read_as_it_was_written() -> None:
    assert KEYS.parse(KEYS.session(0x1234)) == SessionKey(0x1234)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "694d",
        "0000000000000001",
        "0000000000000001.",
        "0000000000000001.01",
        "0000000000000001.-1",
        "0000000000000001.1.d",
        "0000000000000001.١",
        "0000000000000000.1",
        f"0000000000000001.{MAX_ID}",
        f"{MAX_ID + 1:x}.1",
        "0000000000000001." + "9" * 5000,
        "1.1",
        "0000000000000001/1",
    ],
)
def test_any_other_key_of_a_lock_is_foreign(key: str) -> None:
    assert KEYS.parse(KEYS.lock("a") + key.encode()) == EntryKey("a", key, None)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"/lockstream/",
        b"/lockstream/x",
        b"/lockstream/l/",
        b"/lockstream/l//k",
        b"/lockstream/l/a",
        b"/lockstream/l/%61/k",
        b"/lockstream/l/\xff/k",
        b"/lockstream/l/a/\xff",
        b"/lockstream/s/",
        b"/lockstream/s/1",
        b"/lockstream/s/\xff",
        b"/elsewhere/l/a/k",
    ],
)
def test_other_keys_are_nothing_of_ours(key: bytes) -> None:
    assert KEYS.parse(key) is None


@pytest.mark.parametrize("record", [EntryRecord(1), EntryRecord(MAX_ID, Mode.SHARED, "☃", 1.25)])
def test_an_entry_is_read_as_it_was_written(record: EntryRecord) -> None:
    assert decode_entry(encode_entry(record)) == record


def test_a_session_is_read_as_it_was_written() -> None:
    assert decode_session(encode_session(RECORD)) == RECORD


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'"exclusive"',
        b'{"mode":"other","acquire":1,"owner":"","queued_at":1}',
        b'{"mode":[],"acquire":1,"owner":"","queued_at":1}',
        b'{"mode":"shared"}',
        b'{"mode":"shared","acquire":1,"owner":"","queued_at":"soon"}',
        b'{"mode":"shared","acquire":1,"owner":"","queued_at":' + b"9" * 400 + b"}",
        b'{"mode":"shared","acquire":1,"owner":"","queued_at":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
    ids=short,
)
def test_what_is_no_entry_is_none(value: bytes) -> None:
    assert decode_entry(value) is None


@pytest.mark.parametrize("value", [b"", b"null", b"{}", b"[" * 100_000], ids=short)
def test_what_is_no_session_is_none(value: bytes) -> None:
    assert decode_session(value) is None


@pytest.mark.parametrize("field", RECORD._fields)
def test_a_session_without_a_field_is_none(field: str) -> None:
    fields = RECORD._asdict()
    del fields[field]
    assert decode_session(json.dumps(fields).encode()) is None


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("ttl", None),
        ("ttl", float("inf")),
        ("ttl", float("nan")),
        ("metadata", ["a"]),
        ("grace", "x"),
        ("grace", 10**400),
        ("generation", {}),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_session_with_a_wrong_field_is_none(field: str, wrong: object) -> None:
    assert decode_session(json.dumps({**RECORD._asdict(), field: wrong}).encode()) is None
