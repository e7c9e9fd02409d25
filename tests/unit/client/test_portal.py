"""Calls into an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lockstream._errors import WrongState
from lockstream._portal import Portal


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_call_that_blocks_fails_when_the_portal_is_closed() -> None:
    portal = Portal()
    began = threading.Event()

    async def begin() -> None:
        began.set()
        await forever()

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(portal.call, begin)
        assert began.wait(10)
        portal.close()
        with pytest.raises(WrongState, match="closed"):
            call.result(10)


def test_every_call_is_answered_whenever_the_portal_is_closed() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 1

    def call_until_closed(portal: Portal) -> int:
        calls = 0
        while True:
            try:
                calls += portal.call(answer)
            except WrongState:
                return calls

    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            portal = Portal()
            callers = [threads.submit(call_until_closed, portal) for _ in range(4)]
            portal.call(answer)
            portal.close()
            assert all(caller.result(10) >= 0 for caller in callers)
            assert portal.closed


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_callback_that_exits_does_not_end_the_loop(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """The thread would be gone, and its sessions with it, while the program goes on."""
    portal = Portal()

    def leave() -> None:
        raise error

    async def call_back() -> int:
        asyncio.get_running_loop().call_soon(leave)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 1

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(portal.call, call_back).result(10) == 1
        assert threads.submit(portal.close).result(10) is None
    assert error.__name__ in caplog.text


def test_closing_twice_is_closing_once() -> None:
    portal = Portal()
    portal.close()
    portal.close()
    with pytest.raises(WrongState, match="closed"):
        portal.call(forever)


def test_the_thread_of_the_loop_does_not_wait_for_itself() -> None:
    portal = Portal()

    async def call_again() -> None:
        portal.call(forever)

    with pytest.raises(WrongState, match="callback"):
        portal.call(call_again)
    portal.close()
