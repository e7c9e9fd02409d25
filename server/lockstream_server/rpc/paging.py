"""Pages of one listing, all of one revision (AIP-158).

A page token says where the next page begins: the revision that the listing is of, the last item given, and a
fingerprint of the filters. It is opaque to clients, keeps nothing at the server, and is as good at every other one.
"""

import hashlib
import heapq
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from google.protobuf.message import Message

from lockstream_server.core.errors import LockError, invalid
from lockstream_server.core.model import MAX_ID

DEFAULT_SIZE = 100
"""Items on a page that states no size."""
MAX_SIZE = 1_000
"""Items on the largest page."""
PAGE_BYTES = 1_048_576
"""A page ends early when it has become as large as this, well below what gRPC takes by default."""

_HEAD = struct.Struct(">BQ8s")
_VERSION = 1


M = TypeVar("M", bound=Message)


class Cursor(NamedTuple):
    """Where a page begins."""

    revision: int
    """The revision that the listing is of."""
    after: str
    """The last item of the page before."""


def page_size(size: int) -> int:
    """How many items a page may have. Raises LockError (INVALID_ARGUMENT)."""
    if size < 0:
        raise invalid("page_size", "must not be negative")
    return min(size or DEFAULT_SIZE, MAX_SIZE)


def encode(cursor: Cursor, *filters: object) -> str:
    """The page token."""
    head = _HEAD.pack(_VERSION, cursor.revision, _fingerprint(filters))
    return urlsafe_b64encode(head + cursor.after.encode()).rstrip(b"=").decode()


def decode(token: str, *filters: object) -> Cursor | None:
    """What a page token says; None if it is empty. Raises LockError (INVALID_ARGUMENT)."""
    if not token:
        return None
    try:
        data = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        version, revision, fingerprint = _HEAD.unpack_from(data)
        after = data[_HEAD.size :].decode()
    except (ValueError, struct.error):  # of which the decoding errors are kinds
        raise not_ours() from None
    if version != _VERSION or not 0 < revision <= MAX_ID or not after:
        raise not_ours()
    if fingerprint != _fingerprint(filters):
        raise invalid("page_token", "belongs to a listing with other filters")
    return Cursor(revision, after)


def page(keys: Iterable[str], size: int, item: Callable[[str], M]) -> tuple[list[M], str]:
    """The items of the first so many of the keys, which come in any order, and the last key if there are more.

    Fewer when they are large, but never none where there is one.
    """
    first = heapq.nsmallest(size + 1, keys)
    items: list[M] = []
    room = PAGE_BYTES
    for key in first[:size]:
        items.append(item(key))
        room -= items[-1].ByteSize()
        if room <= 0:
            break
    return items, first[len(items) - 1] if len(items) < len(first) else ""


def not_ours() -> LockError:
    """The page token is none that this service gave."""
    return invalid("page_token", "is not one that this service gave")


def _fingerprint(filters: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(repr(filters).encode(), digest_size=8).digest()
