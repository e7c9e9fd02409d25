"""What others may write under our prefix: keys and records that nearly are ours, and whatever else."""

import json
from typing import Any

from hypothesis import strategies as st

from lockstream_server.core.model import EntryRecord, EvictionKind, EvictionRecord, Mode, SessionRecord, Terms
from lockstream_server.store.keys import encode_entry, encode_eviction, encode_session, entry_id, escape
from tests.fuzzing.damage import damaged

NAMES = st.sampled_from(("a", "a", "b", "a/b", "ü"))
SESSIONS = st.integers(1, 3)
SLOTS = st.integers(0, 1)

ENTRY_KEYS = st.builds(
    lambda name, session, slot: f"l/{escape(name)}/{entry_id(session, slot)}".encode(), NAMES, SESSIONS, SLOTS
)
SESSION_KEYS = SESSIONS.map(lambda session: f"s/{session:016x}".encode())
EVICTION_KEYS = st.builds(
    lambda session, acquire: f"e/{session:016x}{acquire}".encode(), SESSIONS, st.sampled_from(("", ".1", ".2"))
)
FOREIGN_KEYS = st.builds(
    lambda name, key: f"l/{escape(name)}/{key}".encode(), NAMES, st.sampled_from(("694d", "x", "", "a/b"))
)
OWN_KEYS = st.one_of(ENTRY_KEYS, SESSION_KEYS, EVICTION_KEYS, FOREIGN_KEYS, st.just(b"fence"))
"""Without the prefix."""

TERMS = st.sampled_from(
    (
        Terms(),
        Terms(permits=1, limit=2),
        Terms(parts=2),
        Terms(upgrades=1),
        Terms(value=b"v", metadata={"k": "v"}),
        Terms(max_hold=1.0, yield_notice=0.1, held_until=2.0),
        Terms(lock_delay=1.0),
        Terms(asks_yield=True),
    )
)
ENTRIES = st.builds(
    EntryRecord, st.integers(1, 3), st.sampled_from(Mode), st.just("owner"), st.just(1.5), TERMS, st.just(10)
)
RECORDS = st.builds(
    SessionRecord,
    client_name=st.just("worker"),
    metadata=st.just({"k": "v"}),
    ttl=st.just(10),
    grace=st.just(10.0),
    heartbeats=st.booleans(),
    token_hash=st.just("hash"),
    server=st.just("server"),
    generation=st.integers(1, 2),
    opened_at=st.just(1.5),
)
EVICTIONS = st.builds(
    EvictionRecord,
    kind=st.sampled_from(EvictionKind),
    session=SESSIONS,
    name=NAMES | st.just(""),
    acquire=st.integers(0, 3),
    token=st.integers(0, 20),
    reason=st.just("stuck"),
    actor=st.just("operator"),
    at=st.just(1.5),
)
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        "",
        "x",
        "1",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "é",
        "\0",
        "k" * 5_000,
        [],
        {},
        [[]],
        {"": 1},
    ),
    *(0, -1, 2, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 0.5, -0.5, 1e18, 1e300, -1e300),
)
"""What may stand in the place of any value of a record."""


def _with_odd(record: bytes, pick: int, odd: Any) -> bytes:
    """Put something odd, as JSON has it, into one of the places of a record; one more place is a new one."""
    fields = json.loads(record)
    places: list[tuple[dict[str, Any], str]] = [(fields, name) for name in [*fields, "terms", "new"]]
    for inner in [each for each in fields.values() if isinstance(each, dict)]:
        places += [(inner, name) for name in [*inner, *Terms._fields]]
    where, name = places[pick % len(places)]
    where[name] = odd
    return json.dumps(fields).encode()


def _odd(records: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(_with_odd, records, st.integers(0, 40), st.sampled_from(ODD))


_RECORDS = {
    ENTRY_KEYS: ENTRIES.map(encode_entry),
    SESSION_KEYS: RECORDS.map(encode_session),
    EVICTION_KEYS: EVICTIONS.map(encode_eviction),
}
_ANY_RECORD = st.one_of(*_RECORDS.values())
_GARBAGE = st.one_of(
    _ANY_RECORD, damaged(_ANY_RECORD), st.sampled_from((b"", b"\0", b"null", b"[]", b"[" * 2_000, b"\xff\xfe"))
)

Write = tuple[bytes, bytes | None]
"""A key and its new value; None deletes it."""
WRITES: st.SearchStrategy[Write] = st.one_of(
    *(st.tuples(keys, records) for keys, records in _RECORDS.items()),
    *(st.tuples(keys, _odd(records)) for keys, records in _RECORDS.items()),
    *(st.tuples(keys, _odd(records)) for keys, records in _RECORDS.items()),
    st.tuples(OWN_KEYS, st.none()),
    st.tuples(OWN_KEYS, _GARBAGE),
    st.tuples(damaged(OWN_KEYS), _GARBAGE),
)
