"""A wait that came to nothing while its client was away was ended before the greeting told of it.

An acquire of a semaphore stated another limit than those in the queue. Its stream broke before the server had seen the
entry, and the client resumed at another server. That one refused the wait while it took the session over: the greeting
did not name the acquire, and the refusal that followed was of something its client took for gone already. Whoever had
asked was told REMOVED_EXTERNALLY, which is not so, and not that the limit was another.

It broke the promise that a wait is told once why it ended. Since then a session greets with everything that it found,
and ends afterwards what is hopeless.
"""

from collections.abc import Iterable

import pytest

from lockstream_server.core.messages import Acquire, WaitEnded
from lockstream_server.core.model import Entry, Mode, Terms
from lockstream_server.sessions.claims import Claims
from lockstream_server.store.port import PutEntry, TakeOverSession
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_a_hopeless_wait_is_ended_after_the_greeting() -> None:
    with small_world(servers=2) as world:
        holder, waiter = world.client(server=1), world.client()
        world.do(holder.ask, Acquire(1, "printers", Mode.PERMITS, "", None, Terms(permits=1, limit=2)))
        world.quiesce()
        world.do(waiter.ask, Acquire(1, "printers", Mode.PERMITS, "", None, Terms(permits=1, limit=3)))
        world.commit(PutEntry)
        world.do(waiter.cut)
        back = world.resume(waiter, server=1)
        world.commit(TakeOverSession, server=1)
        world.answer(TakeOverSession, server=1)
        world.catch_up(server=1)
        assert back.queued == {1}, f"the greeting does not tell of the wait: {back}"
        world.quiesce()
        [ended] = back.happenings
        assert isinstance(ended, WaitEnded)
        assert (ended.acquire, ended.error.reason.name) == (1, "LIMIT_MISMATCH")


def test_as_it_was() -> None:
    with as_it_was(what_is_hopeless_was_ended_when_taken_over, "the greeting does not tell of the wait"):
        test_a_hopeless_wait_is_ended_after_the_greeting()


def what_is_hopeless_was_ended_when_taken_over(patch: pytest.MonkeyPatch) -> None:
    adopt = Claims.adopt

    def adopt_and_refuse(self: Claims, entries: Iterable[Entry]) -> None:
        adopt(self, entries)
        self.refuse_hopeless()

    patch.setattr(Claims, "adopt", adopt_and_refuse)
