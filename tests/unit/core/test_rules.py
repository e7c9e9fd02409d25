"""The grant rule: may this entry join those who hold?"""

import pytest

from lockstream_server.core.model import Entry, EntryRecord, Mode
from lockstream_server.core.rules import RULES

X, S = Mode.EXCLUSIVE, Mode.SHARED


def entry(mode: Mode) -> Entry:
    return Entry("a", "0000000000000001.0", 1, EntryRecord(1, mode), 1)


@pytest.mark.parametrize(
    ("holders", "mode", "admitted"),
    [
        ([], X, True),
        ([X], X, False),
        ([S], X, False),
        ([S, S], X, False),
        ([], S, True),
        ([X], S, False),
        ([S], S, True),
        ([S, S], S, True),
    ],
)
def test_who_may_join(holders: list[Mode], mode: Mode, admitted: bool) -> None:
    assert RULES[mode]([entry(holder) for holder in holders], entry(mode)) is admitted


def test_every_mode_has_a_rule() -> None:
    assert set(RULES) == set(Mode)
