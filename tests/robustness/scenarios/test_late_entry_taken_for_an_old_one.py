"""An entry that a late first attempt wrote was taken for an older one of the claim that had left.

An acquire of two locks was taken for lost, repeated, held and released. The deletions were committed and their answers
lost, so they were repeated too. In between the first attempt of the acquire reached etcd and wrote both entries again;
the repeated deletions name the token that was held, so they found nothing of theirs. That told at which revision the
claim had left: the one of the late entries. Whatever was not written after that revision counted as the claim's own,
and they were not. They were forgotten with it. Found by the properties, once deletions named tokens.

It broke the promise that a release frees the lock: both were taken for as long as the session lived. Since then an
entry is its claim's only under the claim's token.
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


def test_what_was_written_before_a_repeated_deletion_is_deleted() -> None:
    with small_world() as world:
        [store] = world.stores
        client = world.client()
        world.do(client.ask, AcquireAll(1, PARTS, "", None))
        world.lose(PutEntries)
        world.quiesce()
        world.do(client.ask, Release(1, client.held[1].token))
        for deletion in store.uncommitted():
            world.do(store.commit_unheard, deletion)
        assert not world.keys("a") + world.keys("b")
        world.land()
        assert len(world.keys("a") + world.keys("b")) == 2
        for deletion in store.uncommitted():
            world.do(store.commit, deletion)
            world.do(store.tell, deletion)
        world.quiesce()
        left = world.keys("a") + world.keys("b")
        assert not left, f"taken by a session that has released them: {left}"


def test_as_it_was() -> None:
    with as_it_was(what_was_not_written_later_was_its_own, "taken by a session that has released them"):
        test_what_was_written_before_a_repeated_deletion_is_deleted()


def what_was_not_written_later_was_its_own(patch: pytest.MonkeyPatch) -> None:
    claim_of = Claims._claim_of

    def unless_it_is_late(self: Claims, entry: Entry) -> Claim | None:
        claim = self._book.by_acquire.get(entry.record.acquire)
        late = claim is not None and not claim.active and 0 < (claim.left_at or claim.token) < entry.token
        return claim if claim is not None and not late else claim_of(self, entry)

    patch.setattr(Claims, "_claim_of", unless_it_is_late)
