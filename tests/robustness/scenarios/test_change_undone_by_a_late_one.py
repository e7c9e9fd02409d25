"""A change that reached etcd late undid one that was acknowledged after it.

A holder set its value twice. The first attempt at the first was taken for lost and repeated; that was acknowledged, and
so was the second. Then the first attempt reached etcd after all. It asked only that the entry was still the same one,
which it was, and put the old value in place of the new. In the same way a downgrade that was acknowledged could be
undone, and readers who had joined would have been beside a writer.

It broke the promise that nothing acknowledged is undone. Since then changes are made one at a time, each only while
nothing was written since the one before it.
"""

import sys

import pytest

from lockstream_server.core.messages import Acquire, SetValue
from lockstream_server.core.model import EntryRecord, Mode
from lockstream_server.sessions import rewrites
from lockstream_server.store.port import Attachment, RewriteEntry
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_what_was_set_last_stands() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.quiesce()
        token = client.held[1].token
        world.do(client.ask, SetValue(1, token, b"first", {}))
        world.lose(RewriteEntry)
        world.quiesce()
        world.do(client.ask, SetValue(1, token, b"second", {}))
        world.quiesce()
        assert not client.asked, "both are acknowledged"
        world.land()
        world.quiesce()
        [entry] = world.do(world.truth.read_lock, "a").entries
        assert entry.record.terms.value == b"second", f"undone by a late {entry.record.terms.value!r}"


def test_as_it_was() -> None:
    with as_it_was(any_writing_to_the_entry_would_do, "undone by a late b'first'"):
        test_what_was_set_last_stands()


def any_writing_to_the_entry_would_do(patch: pytest.MonkeyPatch) -> None:
    def whatever_was_written_since(
        attachment: Attachment, name: str, slot: int, token: int, _since: int, record: EntryRecord
    ) -> RewriteEntry:
        return RewriteEntry(attachment, name, slot, token, sys.maxsize, record)

    patch.setattr(rewrites, "RewriteEntry", whatever_was_written_since)
