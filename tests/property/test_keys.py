"""Keys and values: everything that we write is read again, and nothing that others write does any harm."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lockstream_server.core.errors import LockError
from lockstream_server.core.model import (
    MAX_ID,
    EntryRecord,
    EvictionKind,
    EvictionRecord,
    Mode,
    SessionRecord,
    Terms,
    check_name,
    parse_session,
)
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
from lockstream_server.store.port import MAX_PARTS

KEYS = Keys("/lockstream/")
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=128)
IDS = st.integers(1, MAX_ID)
SLOTS = st.integers(0, 999_999_999)
SECONDS = st.floats(0, 2**37).map(lambda value: round(value, 3))
RECORDS = st.builds(
    SessionRecord,
    client_name=TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=4),
    ttl=st.integers(1, 600),
    grace=SECONDS,
    heartbeats=st.booleans(),
    token_hash=TEXT,
    server=TEXT,
    generation=IDS,
    opened_at=SECONDS,
    nonce=TEXT,
)
METADATA = st.dictionaries(TEXT, TEXT, max_size=3)
TERMS = st.builds(
    Terms,
    permits=st.integers(0, 2**31),
    limit=st.integers(0, 2**31),
    parts=st.integers(0, MAX_PARTS),
    upgrades=st.integers(0, MAX_ID),
    value=st.binary(max_size=60),
    metadata=METADATA,
    max_hold=SECONDS,
    yield_notice=SECONDS,
    held_until=SECONDS,
    lock_delay=SECONDS,
    asks_yield=st.booleans(),
)
EVICTIONS = st.builds(
    EvictionRecord,
    kind=st.sampled_from(EvictionKind),
    session=st.integers(0, MAX_ID),
    name=TEXT,
    acquire=st.integers(0, MAX_ID),
    token=st.integers(0, MAX_ID),
    reason=TEXT,
    actor=TEXT,
    at=SECONDS,
)
DAMAGED = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    ).map(lambda value: repr(value).replace("'", '"').encode()),
)


@given(NAMES)
def test_a_name_comes_back(name: str) -> None:
    assert unescape(escape(name)) == name
    check_name(name)


@given(NAMES, NAMES, IDS, SLOTS)
def test_no_name_is_within_the_range_of_another(name: str, other: str, session: int, slot: int) -> None:
    start = KEYS.lock(name)
    assert (start <= KEYS.entry(other, session, slot) < range_end(start)) is (name == other)


@given(NAMES, IDS, SLOTS)
def test_a_key_comes_back(name: str, session: int, slot: int) -> None:
    assert KEYS.parse(KEYS.entry(name, session, slot)) == EntryKey(name, entry_id(session, slot), session)
    assert KEYS.parse(KEYS.session(session)) == SessionKey(session)


@given(
    st.sampled_from([b"", b"l/", b"l/a/", b"l/a/0000000000000001.", b"l/%", b"s/", b"s/00000000", b"e/"]), st.binary()
)
def test_any_key_is_read_without_harm(beginning: bytes, rest: bytes) -> None:
    key = KEYS.prefix + beginning + rest
    match KEYS.parse(key):
        case EntryKey(name, last, session):
            assert KEYS.lock(name) + last.encode() == key
            if session is not None:
                assert KEYS.entry(name, session, slot_of(last)) == key
        case SessionKey(session):
            assert KEYS.session(session) == key
        case EvictionKey(last):
            assert KEYS.eviction(last) == key
        case None:
            pass


@given(IDS, st.sampled_from(Mode), TEXT, SECONDS, TERMS)
def test_an_entry_comes_back(acquire: int, mode: Mode, owner: str, queued_at: float, terms: Terms) -> None:
    record = EntryRecord(acquire, mode, owner, queued_at, terms)
    assert decode_entry(encode_entry(record)) == record


@given(EVICTIONS)
def test_an_eviction_comes_back(record: EvictionRecord) -> None:
    assert decode_eviction(encode_eviction(record)) == record
    assert KEYS.parse(KEYS.eviction(eviction_id(record))) == EvictionKey(eviction_id(record))


@given(RECORDS)
def test_a_session_comes_back(record: SessionRecord) -> None:
    assert decode_session(encode_session(record)) == record


@given(DAMAGED)
def test_any_value_is_read_without_harm(value: bytes) -> None:
    decode_entry(value)
    decode_session(value)
    decode_eviction(value)


@given(st.dictionaries(st.sampled_from(Terms._fields), st.none() | st.booleans() | st.integers() | st.floats() | TEXT))
def test_any_terms_are_read_without_harm(terms: dict[str, object]) -> None:
    decode_entry(encode_entry(EntryRecord(1))[:-1] + b',"terms":' + json.dumps(terms).encode() + b"}")


@given(st.sampled_from(Mode), st.integers(0, 80), DAMAGED)
def test_a_value_cut_short_or_spliced_is_read_without_harm(mode: Mode, length: int, rest: bytes) -> None:
    decode_entry(encode_entry(EntryRecord(1, mode, "owner", 1.0))[:length] + rest)


@given(st.text())
def test_any_text_is_checked_without_harm(text: str) -> None:
    parse_session(text)
    try:
        check_name(text)
    except LockError as error:
        if error.field != "name":
            raise
    else:
        assert unescape(escape(text)) == text
