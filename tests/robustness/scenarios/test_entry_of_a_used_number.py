"""What a late first attempt wrote was taken for another acquire with the same number.

A plain client numbered its acquires as it liked: it used 5 once more, for the same lock, after 5 was released. In the
meantime another owner of its session had the key of the first 5, so the second one got another key. The very first
attempt to write the first 5 was still on its way, taken for lost. It reached etcd before the second 5 did, and the
server took that entry for what it was waiting for: same session, same number, same name. The client was told a grant
under the wrong token; its release then named a key and a token that do not belong together, found nothing to delete,
and was answered with success.

It broke the promise that a release frees the lock: both entries stayed for as long as the session. Since then an entry
is a claim's own only at its key and under its token, and any other is deleted.
"""

import pytest

from lockstream_server.core.messages import Acquire, Release
from lockstream_server.core.model import Entry, Mode
from lockstream_server.sessions.claim import Claim
from lockstream_server.store.port import DeleteEntry, PutEntry
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_an_entry_at_another_key_is_not_the_claims_own() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(5, "a", Mode.EXCLUSIVE, "", None))
        world.lose(PutEntry)
        world.quiesce()
        world.do(client.ask, Release(5, client.held[5].token))
        world.quiesce()
        world.do(client.ask, Acquire(6, "a", Mode.EXCLUSIVE, "another", None))
        world.quiesce()
        world.do(client.ask, Acquire(5, "a", Mode.EXCLUSIVE, "", None))
        world.do(client.ask, Release(6, client.held[6].token))
        world.commit(DeleteEntry)
        world.answer(DeleteEntry)
        assert not world.keys("a"), "the second 5 is still on its way"
        world.land()
        world.catch_up()
        world.quiesce()
        world.do(client.ask, Release(5, client.held[5].token))
        world.quiesce()
        assert not client.refusals
        assert not world.keys("a"), f"left after it was released: {world.keys('a')}"


def test_as_it_was() -> None:
    with as_it_was(a_number_and_a_name_made_an_entry_its_own, "left after it was released"):
        test_an_entry_at_another_key_is_not_the_claims_own()


def a_number_and_a_name_made_an_entry_its_own(patch: pytest.MonkeyPatch) -> None:
    def asks_for_the_same(self: Claim, entry: Entry) -> bool:
        return any(part.name == entry.name and part.record.asks_for() == entry.record.asks_for() for part in self.parts)

    patch.setattr(Claim, "has", asks_for_the_same)
