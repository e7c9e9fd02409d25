"""Names of locks and sessions."""

import pytest

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.model import FOREIGN, MAX_ID, Entry, check_name, parse_session, session_text


@pytest.mark.parametrize(
    "name", ["a", "a/b", "/a", "a/", "%2F", " ", "\0", "n" * 512, "é" * 256, "錠" * 170, "🔒" * 128]
)
def test_names_of_up_to_512_bytes_are_fine(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "n" * 513, "é" * 257, "錠" * 171, "🔒" * 129, "\ud800", "n" * 200 + "\ud800"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(LockError) as refusal:
        check_name(name)
    assert refusal.value.reason is Reason.INVALID_ARGUMENT
    assert refusal.value.field == "name"


@pytest.mark.parametrize("session", [1, 0x1234, MAX_ID])
def test_a_session_is_named_by_16_digits(session: int) -> None:
    assert len(session_text(session)) == 16
    assert parse_session(session_text(session)) == session


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0" * 16,
        "0" * 15,
        "0" * 16 + "1",
        "00000000000000AB",
        "0x00000000000001",
        "+000000000000001",
        "0_00000000000001",
        " 00000000000001 ",
        "０００００００００００００００１",
        "8000000000000000",
        "gggggggggggggggg",
    ],
)
def test_anything_else_names_no_session(text: str) -> None:
    assert parse_session(text) is None


def test_entries_are_ordered_by_token_and_then_by_key() -> None:
    entries = [Entry("a", key, None, FOREIGN, token) for token, key in [(2, "a"), (1, "b"), (1, "a")]]
    assert [entry.order for entry in sorted(entries, key=lambda entry: entry.order)] == [(1, "a"), (1, "b"), (2, "a")]
