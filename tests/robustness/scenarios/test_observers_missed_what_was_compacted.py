"""Observers missed silently what etcd had compacted before their server saw it.

A server was cut off from etcd while a lock was taken and released at another one, and while etcd compacted its history.
When it was back it began anew from a snapshot. Whoever watched locks there was told what came after, and nothing of
what had come and gone: a leader that an observer was to hear of did not exist for it.

It broke the promise that a watch tells every change, none left out. Since then such a watch ends with
HISTORY_COMPACTED, and its client begins anew with a snapshot.
"""

import pytest

from lockstream_server.core.errors import Reason
from lockstream_server.core.messages import Acquire, Release
from lockstream_server.core.model import Mode
from lockstream_server.core.observing import Watched
from lockstream_server.sessions.observers import Observer, Observers
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_an_observer_is_told_that_something_cannot_be_told() -> None:
    with small_world(servers=2) as world:
        client, host = world.client(server=1), world.registries[0].host
        observer = Observer(Watched("a"), limit=100, cut=lambda: None)
        host.witness.observers.add(observer, most=1)
        observer.listening = True
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.serve(1)
        world.do(client.ask, Release(1, client.held[1].token))
        world.serve(1)
        assert len(world.stores[0].held_back) == 2, "the first server has seen nothing of it"
        world.do(world.stores[0].break_feed)
        world.do(client.ask, Acquire(2, "a", Mode.EXCLUSIVE, "", None))
        world.quiesce()
        assert observer.error is not None, f"told only this, as if there had been nothing else: {observer.queue}"
        assert observer.error.reason is Reason.HISTORY_COMPACTED
        assert not observer.queue


def test_as_it_was() -> None:
    with as_it_was(nobody_told_observers_of_a_gap, "as if there had been nothing else"):
        test_an_observer_is_told_that_something_cannot_be_told()


def nobody_told_observers_of_a_gap(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Observers, "lost_track", lambda _self, _revision: None)
