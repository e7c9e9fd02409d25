"""A pytest plugin: the fixture `lockstream_server`, a real server inside the test's process.

    def test_report(lockstream_server):
        with lockstream.sync.connect(lockstream_server.target) as client:
            ...

It keeps its locks in memory, runs on a thread of its own and ends with the test, so synchronous and
asynchronous tests can use it alike. It needs `lockstream[server]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lockstream import _local
from lockstream._portal import Portal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LockstreamServer", "lockstream_server"]


@dataclass(frozen=True)
class LockstreamServer:
    """A running server."""

    target: str
    """What to give to `lockstream.connect`."""


@pytest.fixture
def lockstream_server() -> Iterator[LockstreamServer]:
    """A server of the test's own, without any lock or session."""
    portal = Portal()
    try:
        server = portal.call(_local.start)
        try:
            yield LockstreamServer(server.target)
        finally:
            portal.call(server.stop)
    finally:
        portal.close()
