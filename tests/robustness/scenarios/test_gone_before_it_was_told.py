"""An acquire whose entry came and went while the watch was being resumed was told that it held.

An acquire was committed into an empty queue; its entry was deleted, by hand, before the server heard of either. The
history in between was gone from etcd, so the server began anew from a snapshot, which shows no trace of it. Then came
the outcome of the commit: granted. The client believed to hold what anybody else could have, for as long as it liked,
since nothing more would ever be heard of that entry.

It broke mutual exclusion. Since then an outcome that the table has passed already counts only if the table shows the
entry.
"""

import pytest

from lockstream_server.core.messages import Acquire
from lockstream_server.core.model import Mode
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.waits import Waits
from lockstream_server.store.port import Outcome, PutEntry, Verdict
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_an_entry_that_a_snapshot_does_not_show_is_not_held() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.commit(PutEntry)
        [key] = world.keys("a")
        world.do(world.truth.delete_entry, "a", key)
        world.do(world.stores[0].break_feed)
        world.answer(PutEntry)
        assert not client.held, f"believes to hold what is gone: {client}"
        assert client.refusals == {"REMOVED_EXTERNALLY": 1}


def test_as_it_was() -> None:
    with as_it_was(the_outcome_alone_decided, "believes to hold what is gone"):
        test_an_entry_that_a_snapshot_does_not_show_is_not_held()


def the_outcome_alone_decided(patch: pytest.MonkeyPatch) -> None:
    def written(self: Waits, claim: Claim, outcome: Outcome) -> None:
        if claim.granted:
            return
        if outcome.verdict is Verdict.GRANTED:
            claim.pending = 0
            self._grant(claim, outcome.revision)
        else:
            claim.token = claim.token or outcome.revision

    patch.setattr(Waits, "_written", written)
