"""The late first attempt of a deletion deleted a later hold of the same session.

An acquire was cancelled before etcd had answered it, so that its token was not known yet; its deletion named none. The
deletion was taken for lost and repeated, and so the acquire was gone. The session acquired the same lock once more,
with the same key, and held it. Then the first attempt of the deletion reached etcd after all, and deleted that hold.
Found as an entry that was gone while its holder still believed in it.

It broke mutual exclusion: the next in line was granted at once. Since then the deletion waits for the outcome of what
it is to delete, and names its token.
"""

from typing import Any

import pytest

from lockstream_server.core.messages import Acquire, Cancel
from lockstream_server.core.model import Mode
from lockstream_server.store.memory import MemoryStore
from lockstream_server.store.port import DeleteEntry, PutEntry
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_a_late_deletion_spares_the_next_hold_of_the_session() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.do(client.ask, Cancel(1))
        world.commit(PutEntry)
        world.answer(PutEntry)
        [cancelled] = world.keys("a")
        world.lose(DeleteEntry)
        world.quiesce()
        assert not world.keys("a")
        world.do(client.ask, Acquire(2, "a", Mode.EXCLUSIVE, "", None))
        world.quiesce()
        assert world.keys("a") == [cancelled], "keys are used again"
        world.land()
        assert world.keys("a"), f"the hold of acquire 2 was deleted under {client}"
        world.quiesce()
        assert 2 in client.held


def test_as_it_was() -> None:
    with as_it_was(the_deletion_named_no_token, "the hold of acquire 2 was deleted"):
        test_a_late_deletion_spares_the_next_hold_of_the_session()


def the_deletion_named_no_token(patch: pytest.MonkeyPatch) -> None:
    delete_entry = MemoryStore._delete_entry  # noqa: SLF001 - what was broken lies inside

    def whichever_is_there(self: MemoryStore, proposal: DeleteEntry) -> Any:
        there = self._own(proposal.name, proposal.attachment.session, proposal.slot)
        return delete_entry(self, proposal._replace(token=there.token) if there is not None else proposal)

    patch.setattr(MemoryStore, "_delete_entry", whichever_is_there)
