"""Bytes that once were well formed."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

MAX_DAMAGES = 3
"""Ways in which one piece is damaged, at the most."""

ODD_FIELDS = (
    b"\xf8\xff\xff\xff\x0f\x01",  # the largest field number
    b"\x00\x01",  # field number 0
    b"\x08" + b"\xff" * 9 + b"\x01",  # the largest varint
    b"\x08" + b"\xff" * 10 + b"\x01",  # a varint of too many bytes
    b"\x0a\xff\xff\xff\xff\x07",  # a length of 2 GiB
    b"\x0a\x02\xff\xfe",  # a text that is not UTF-8
    b"\x0b\x0c",  # a group
    b"\x0c",  # the end of a group that did not begin
    b"\x0f",  # no wire type
    b"\x0a\x02" * 200,  # deep nesting
)

Damage = Callable[[st.DrawFn, bytes, bytes], bytes]
"""Damages the first, with parts of the second if need be."""


def _flip(draw: st.DrawFn, data: bytes, _: bytes) -> bytes:
    damaged = bytearray(data)
    for bit in draw(st.lists(st.integers(0, max(8 * len(data) - 1, 0)), min_size=1, max_size=4)):
        if damaged:
            damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def _truncate(draw: st.DrawFn, data: bytes, _: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


def _cut_out(draw: st.DrawFn, data: bytes, _: bytes) -> bytes:
    first = draw(st.integers(0, len(data)))
    return data[:first] + data[draw(st.integers(first, len(data))) :]


def _insert(draw: st.DrawFn, data: bytes, _: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.sampled_from(ODD_FIELDS) | st.binary(min_size=1, max_size=6)) + data[at:]


def _splice(draw: st.DrawFn, data: bytes, other: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))] + other[draw(st.integers(0, len(other))) :]


def _repeat(draw: st.DrawFn, data: bytes, _: bytes) -> bytes:
    return data * draw(st.integers(2, 5))


DAMAGES: Sequence[Damage] = (_flip, _truncate, _cut_out, _insert, _splice, _repeat)


@st.composite
def damaged(draw: st.DrawFn, pieces: st.SearchStrategy[bytes]) -> bytes:
    """A piece after a few damages."""
    data = draw(pieces)
    for damage in draw(st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=MAX_DAMAGES)):
        data = damage(draw, data, draw(pieces) if damage is _splice else b"")
    return data
