"""A blocking call that came just as its client was closed waited for ever.

The blocking client runs an event loop on a thread of its own. While that loop ended the calls under way, since another
thread had closed the client, a third thread asked for one more. The loop was not closed yet, so it took the call, and
then ended: nobody was left to answer it.

It broke the promise that a call on a closed client fails. Since then the portal takes nothing any more from the moment
at which it is closed, and everything that it took before is answered.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest

from lockstream._errors import WrongState
from lockstream._portal import Portal
from tests.robustness.scenarios.as_it_was import as_it_was

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 0.5
"""Seconds after which a call that is not answered waits for ever."""


def begin(call: Callable[[], object]) -> Future[object]:
    """Call it on a thread that is left behind if it waits for ever."""
    answer: Future[object] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except WrongState as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def test_a_call_that_comes_while_its_client_is_closed_fails() -> None:
    portal = Portal()
    begun, ending, go_on = threading.Event(), threading.Event(), threading.Event()

    async def acquire() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            go_on.wait(10)

    async def acquire_as_well() -> None:
        await asyncio.Event().wait()

    first = begin(lambda: portal.call(acquire))
    assert begun.wait(10)
    closing = begin(portal.close)
    assert ending.wait(10)
    second = begin(lambda: portal.call(acquire_as_well))
    answered = isinstance(_answer(second), WrongState)
    go_on.set()
    assert answered or isinstance(_answer(second), WrongState), "the second call waits for ever"
    assert isinstance(first.exception(10), WrongState)
    assert closing.result(10) is None


def _answer(call: Future[object]) -> BaseException | None:
    try:
        return call.exception(PATIENCE)
    except TimeoutError:
        return None


def test_as_it_was() -> None:
    with as_it_was(a_portal_took_calls_until_its_loop_was_closed, "the second call waits for ever"):
        test_a_call_that_comes_while_its_client_is_closed_fails()


def a_portal_took_calls_until_its_loop_was_closed(patch: pytest.MonkeyPatch) -> None:
    def post(self: Portal, callback: Callable[[], None], *, last: bool = False) -> bool:
        del last
        if self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(callback)
        return True

    patch.setattr(Portal, "_post", post)
