"""After a change that was told as failed, and had been written, a holder was told that it held nothing.

A holder set its value. etcd wrote it and the answer was lost; the repetition found etcd out of space, and the holder
was told that its value could not be set. Each later change is made only while nothing was written since the last one
that is known. Now something had been, so all of them came to nothing, which was read as: there is no such entry.

It broke the promise that an error says what is so: the holder, told NOT_HELD, had a lock that nobody would release.
Since then such a change is told apart, and made on top of what the table shows.
"""

# ruff: noqa: SLF001 - what was broken lies inside

import pytest

from lockstream_server.core.messages import Acquire, SetValue
from lockstream_server.core.model import Mode
from lockstream_server.sessions.claim import Claim
from lockstream_server.sessions.rewrites import Rewrites
from lockstream_server.store.port import Outcome, Part, RewriteEntry, Verdict
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_a_change_comes_on_top_of_one_that_was_taken_for_failed() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.quiesce()
        token = client.held[1].token
        world.do(client.ask, SetValue(1, token, b"first", {}))
        world.repeat(RewriteEntry)
        world.turn_down(RewriteEntry, Verdict.NO_SPACE)
        assert client.refusals == {"STORE_UNAVAILABLE": 1}
        world.do(client.ask, SetValue(1, token, b"second", {}))
        world.quiesce()
        assert not client.refusals["NOT_HELD"], "told that it holds nothing, and holds"
        [entry] = world.do(world.truth.read_lock, "a").entries
        assert entry.record.terms.value == b"second"


def test_as_it_was() -> None:
    with as_it_was(whatever_was_written_since_was_another_entry, "told that it holds nothing, and holds"):
        test_a_change_comes_on_top_of_one_that_was_taken_for_failed()


def whatever_was_written_since_was_another_entry(patch: pytest.MonkeyPatch) -> None:
    written = Rewrites._written

    def or_there_is_none(self: Rewrites, claim: Claim, part: Part, outcome: Outcome) -> None:
        absent = outcome.verdict is Verdict.EXISTS
        written(self, claim, part, outcome._replace(verdict=Verdict.ABSENT) if absent else outcome)

    patch.setattr(Rewrites, "_written", or_there_is_none)
