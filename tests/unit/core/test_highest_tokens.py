"""The highest token granted of each name."""

from lockstream_server.core.highest_tokens import HighestTokens
from lockstream_server.core.model import Entry, EntryRecord


def entry(name: str, token: int) -> Entry:
    return Entry(name, "key", 1, EntryRecord(1), token)


def test_none_is_known_of_a_name_that_was_never_granted() -> None:
    assert HighestTokens().of("a") == 0


def test_the_last_grant_has_the_highest() -> None:
    tokens = HighestTokens()
    for each in (entry("a", 3), entry("b", 5), entry("a", 7)):
        tokens.granted(each)
    assert (tokens.of("a"), tokens.of("b")) == (7, 5)


def test_only_so_many_names_are_known_the_last_granted() -> None:
    tokens = HighestTokens(names=2)
    for token, name in enumerate("abac", 1):
        tokens.granted(entry(name, token))
    assert [tokens.of(name) for name in "abc"] == [3, 0, 4]
