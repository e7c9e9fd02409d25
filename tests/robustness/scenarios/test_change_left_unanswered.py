"""A change to a hold was left unanswered when the session ended.

A holder set its value. Before etcd had answered, the session's lease ended. The holder was told of the loss and of the
session's end, but never what became of its request; a caller that awaited the reply waited for ever.

It broke the promise that every request has one reply. Since then the end of a session answers its changes too.
"""

import pytest

from lockstream_server.core.messages import Acquire, SetValue
from lockstream_server.core.model import Mode
from lockstream_server.sessions.rewrites import Rewrites
from lockstream_server.store.port import RewriteEntry
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_a_change_is_answered_when_the_session_ends() -> None:
    with small_world() as world:
        client = world.client()
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.quiesce()
        world.do(client.ask, SetValue(1, client.held[1].token, b"leader", {}))
        assert world.sent(RewriteEntry).outcome is None
        world.do(world.truth.revoke_lease, client.session)
        world.catch_up()
        assert client.state == "over"
        assert client.refusals == {"SESSION_EXPIRED": 1}


def test_as_it_was() -> None:
    with as_it_was(the_end_of_a_session_forgot_its_changes, "left in the dark.*SetValue"):
        test_a_change_is_answered_when_the_session_ends()


def the_end_of_a_session_forgot_its_changes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rewrites, "end", lambda _self, _error: None)
