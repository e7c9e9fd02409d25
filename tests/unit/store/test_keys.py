"""Keys and values: what is written is read again, and nothing else is mistaken for it."""

import json
from itertools import permutations

import pytest

from lockstream_server.core.model import MAX_ID, EntryRecord, EvictionKind, EvictionRecord, Mode, Terms
from lockstream_server.store.keys import (
    EntryKey,
    EvictionKey,
    Keys,
    SessionKey,
    decode_entry,
    decode_eviction,
    decode_session,
    encode_entry,
    encode_eviction,
    encode_session,
    entry_id,
    escape,
    eviction_id,
    range_end,
    slot_of,
    unescape,
)
from tests.support.history import RECORD, eviction, session_eviction

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
    assert KEYS.entry_at(name, entry_id(1, 999)) == KEYS.entry(name, 1, 999)
    assert slot_of(entry_id(1, 999)) == 999


def test_the_key_of_an_eviction_names_the_session_and_the_acquire() -> None:
    record = eviction("a", 0x1234, 9, acquire=5)
    assert eviction_id(record) == "0000000000001234.5"
    assert KEYS.eviction(eviction_id(record)) == b"/lockstream/e/0000000000001234.5"
    assert KEYS.parse(KEYS.eviction(eviction_id(record))) == EvictionKey(eviction_id(record))


def test_the_key_of_the_eviction_of_a_foreign_entry_names_its_token() -> None:
    assert eviction_id(eviction("a", 0, 9, acquire=0)) == "0000000000000000.9"


def test_the_key_of_the_eviction_of_a_session_is_the_session() -> None:
    assert eviction_id(session_eviction(0x1234)) == "0000000000001234"


def test_a_session_key_is_read_as_it_was_written() -> None:
    assert KEYS.parse(KEYS.session(0x1234)) == SessionKey(0x1234)


FOREIGN = [
    "",
    "694d",
    "0000000000000001",
    "0000000000000001.",
    "0000000000000001.01",
    "0000000000000001.-1",
    "0000000000000001.1.d",
    "0000000000000001.١",
    "0000000000000001.²",
    "abcdefghijklmnop.1",
    "0000000000000000.1",
    f"0000000000000001.{MAX_ID}",
    f"{MAX_ID + 1:x}.1",
    "0000000000000001." + "9" * 5000,
    "1.1",
    "0000000000000001/1",
]
"""The last parts of keys that this service does not write."""


@pytest.mark.parametrize("key", FOREIGN)
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
        b"/lockstream/e/\xff",
        b"/elsewhere/l/a/k",
    ],
)
def test_other_keys_are_nothing_of_ours(key: bytes) -> None:
    assert KEYS.parse(key) is None


@pytest.mark.parametrize("record", [EntryRecord(1), EntryRecord(MAX_ID, Mode.SHARED, "☃", 1.25)])
def test_an_entry_is_read_as_it_was_written(record: EntryRecord) -> None:
    assert decode_entry(encode_entry(record)) == record


TERMS = Terms(
    permits=3,
    limit=10,
    parts=2,
    upgrades=MAX_ID,
    value=b"\0\xff",
    metadata={"☃": "snow"},
    max_hold=60.5,
    yield_notice=6.25,
    held_until=1_700_000_000.125,
    lock_delay=4.5,
    asks_yield=True,
)


@pytest.mark.parametrize("field", Terms._fields)
def test_each_of_the_terms_is_read_as_it_was_written(field: str) -> None:
    assert getattr(TERMS, field) != getattr(Terms(), field), "a value of its own for every field"
    record = EntryRecord(1, terms=Terms(**{field: getattr(TERMS, field)}))
    assert decode_entry(encode_entry(record)) == record


def test_all_terms_are_read_as_they_were_written() -> None:
    record = EntryRecord(1, Mode.PERMITS, terms=TERMS)
    assert decode_entry(encode_entry(record)) == record


def test_an_entry_without_terms_says_nothing_of_them() -> None:
    assert b"terms" not in encode_entry(EntryRecord(1))
    assert list(json.loads(encode_entry(EntryRecord(1, terms=Terms(lock_delay=1.5))))["terms"]) == ["lock_delay"]


def test_terms_of_a_later_version_are_passed_over() -> None:
    fields = json.loads(encode_entry(EntryRecord(1, terms=Terms(permits=1, limit=2))))
    fields["terms"]["colour"] = "green"
    assert decode_entry(json.dumps(fields).encode()) == EntryRecord(1, terms=Terms(permits=1, limit=2))


@pytest.mark.parametrize(
    "terms",
    [
        "null",
        "[]",
        "7",
        '"permits"',
        '{"permits":"x"}',
        '{"permits":null}',
        '{"permits":1e400}',
        '{"limit":[]}',
        '{"value":"*"}',
        '{"value":7}',
        '{"value":"é"}',
        '{"metadata":["a"]}',
        '{"metadata":"a"}',
        '{"max_hold":{}}',
        '{"upgrades":"' + "9" * 5000 + '"}',
    ],
    ids=lambda text: text[:24],
)
def test_an_entry_with_wrong_terms_is_none(terms: str) -> None:
    plain = encode_entry(EntryRecord(1))
    assert decode_entry(plain[:-1] + b',"terms":' + terms.encode() + b"}") is None


@pytest.mark.parametrize("kind", EvictionKind)
def test_an_eviction_is_read_as_it_was_written(kind: EvictionKind) -> None:
    record = EvictionRecord(kind, MAX_ID, "n/1", 5, 9, "it was ☃", "somebody", 2.125)
    assert decode_eviction(encode_eviction(record)) == record


@pytest.mark.parametrize("field", EvictionRecord._fields)
def test_an_eviction_without_a_field_or_with_a_wrong_one_is_none(field: str) -> None:
    fields = json.loads(encode_eviction(eviction("a", 1, 9)))
    if not isinstance(fields[field], str) or field == "kind":  # anything can be read as a text
        assert decode_eviction(json.dumps({**fields, field: {}}).encode()) is None
        assert decode_eviction(json.dumps({**fields, field: 10**400}).encode()) is None
    del fields[field]
    assert decode_eviction(json.dumps(fields).encode()) is None


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


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"{}", b'"kind"', b"[" * 100_000], ids=short)
def test_what_is_no_session_or_eviction_is_none(value: bytes) -> None:
    assert decode_session(value) is None
    assert decode_eviction(value) is None


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
