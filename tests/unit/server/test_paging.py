"""Page tokens, and what goes on a page."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstream.v1 import lock_pb2
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.model import MAX_ID
from lockstream_server.rpc.paging import PAGE_BYTES, Cursor, decode, encode, page, page_size

FILTERS = st.lists(st.one_of(st.text(), st.booleans()), max_size=4)
CURSORS = st.builds(Cursor, st.integers(1, MAX_ID), st.text(st.characters(codec="utf-8"), min_size=1, max_size=512))


@given(CURSORS, FILTERS)
def test_a_page_token_says_what_it_was_given(cursor: Cursor, filters: list[object]) -> None:
    token = encode(cursor, *filters)
    assert token.isascii()
    assert token.replace("-", "").replace("_", "").isalnum(), "it goes into a URL as it is"
    assert decode(token, *filters) == cursor


@given(CURSORS, FILTERS, FILTERS)
def test_a_page_token_of_other_filters_is_refused(cursor: Cursor, filters: list[object], others: list[object]) -> None:
    if filters != others:
        assert_refused(encode(cursor, *filters), *others)


@given(st.one_of(st.text(min_size=1), st.binary(min_size=1).map(bytes.hex)))
def test_any_other_text_is_refused(text: str) -> None:
    assert_refused(text)


@given(CURSORS, st.randoms(use_true_random=False))
def test_a_page_token_that_was_cut_is_refused_or_says_something_well_formed(
    cursor: Cursor, chance: random.Random
) -> None:
    token = encode(cursor)
    cut = token[: chance.randrange(1, len(token))]
    try:
        found = decode(cut)
    except LockError as error:
        assert error.field == "page_token"  # noqa: PT017 - either is right
    else:
        assert found is not None
        assert found.revision == cursor.revision
        assert cursor.after.startswith(found.after)


def test_no_page_token_is_the_beginning() -> None:
    assert decode("", "any") is None


def assert_refused(token: str, *filters: object) -> None:
    with pytest.raises(LockError) as refused:
        decode(token, *filters)
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_ARGUMENT, "page_token")


@pytest.mark.parametrize(("asked", "given_"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_a_page_has_a_hundred_items_unless_asked_and_a_thousand_at_the_most(asked: int, given_: int) -> None:
    assert page_size(asked) == given_


def lock(name: str) -> lock_pb2.Lock:
    return lock_pb2.Lock(name=name)


def large(name: str) -> lock_pb2.Lock:
    """Three of these make a page."""
    return lock_pb2.Lock(name=name, entries=[lock_pb2.Entry(value=b"v" * (PAGE_BYTES // 2 - 100))])


def test_a_page_has_the_first_items_in_order() -> None:
    items, last = page(["c", "a", "d", "b"], 3, lock)
    assert ([item.name for item in items], last) == (["a", "b", "c"], "c")


@pytest.mark.parametrize("size", [4, 5])
def test_the_last_page_says_so(size: int) -> None:
    items, last = page(["c", "a", "d", "b"], size, lock)
    assert ([item.name for item in items], last) == (["a", "b", "c", "d"], "")


def test_nothing_is_a_last_page_too() -> None:
    assert page([], 3, lock) == ([], "")


def test_a_page_ends_early_when_it_is_large() -> None:
    items, last = page(["c", "a", "d", "b"], 4, large)
    assert ([item.name for item in items], last) == (["a", "b", "c"], "c")


def test_an_item_as_large_as_a_page_is_a_page() -> None:
    items, last = page(["a", "b"], 4, lambda name: lock_pb2.Lock(name=name * PAGE_BYTES))
    assert (len(items), last) == (1, "a")
