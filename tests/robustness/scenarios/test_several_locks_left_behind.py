"""Of several locks, the entries that a late first attempt wrote stayed behind.

An acquire of two locks was taken for lost and repeated; the repetition was committed, held and released. Right after
the deletions the first attempt reached etcd after all and wrote both entries again. The server saw them while it still
awaited the outcomes of the deletions, took them for those of the claim that was leaving, and forgot them with it: both
locks were taken by a session that did not know of it, for as long as it lived.

It broke the promise that a release frees the lock. Since then an entry is its claim's only under the claim's token, and
any other is deleted.
"""

# ruff: noqa: SLF001 - what was broken lies inside

import pytest

from lockstream_server.core.messages import AcquireAll, AcquirePart, Release
from lockstream_server.core.model import Entry, Mode, Terms
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.claims import Claims
from lockstream_server.store.port import PutEntries
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world

PARTS = [AcquirePart(name, Mode.EXCLUSIVE, Terms(parts=2)) for name in ("a", "b")]


def test_what_a_late_first_attempt_wrote_is_deleted() -> None:
    with small_world() as world:
        [store] = world.stores
        client = world.client()
        world.do(client.ask, AcquireAll(1, PARTS, "", None))
        world.lose(PutEntries)
        world.commit(PutEntries)
        world.answer(PutEntries)
        world.catch_up()
        world.do(client.ask, Release(1, client.held[1].token))
        for deletion in store.uncommitted():
            world.do(store.commit, deletion)
        assert not world.keys("a") + world.keys("b")
        world.land()
        assert world.keys("a")
        assert world.keys("b")
        world.catch_up()
        world.quiesce()
        left = world.keys("a") + world.keys("b")
        assert not left, f"taken by a session that has released them: {left}"


def test_as_it_was() -> None:
    with as_it_was(any_entry_of_an_acquire_was_its_own, "taken by a session that has released them"):
        test_what_a_late_first_attempt_wrote_is_deleted()


def any_entry_of_an_acquire_was_its_own(patch: pytest.MonkeyPatch) -> None:
    claim_of = Claims._claim_of

    def the_one_with_its_number(self: Claims, entry: Entry) -> Claim | None:
        claim = self._book.by_acquire.get(entry.record.acquire)
        names = [part.name for part in claim.parts] if claim is not None else []
        return claim if entry.name in names else claim_of(self, entry)

    patch.setattr(Claims, "_claim_of", the_one_with_its_number)
