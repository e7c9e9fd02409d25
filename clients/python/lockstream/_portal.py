"""An event loop on a thread of its own, and calls into it from threads that block."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from lockstream._errors import WrongState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")


class Portal:
    """Runs coroutines on a background thread's event loop.

    The thread is a daemon: a program that forgets to close still ends, and the server frees its
    locks after the TTL.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="lockstream", daemon=True)
        self._thread.start()

    def call(
        self,
        function: Callable[[], Coroutine[object, object, T]],
        undo: Callable[[T], Awaitable[object]] | None = None,
    ) -> T:
        """Run a coroutine function on the loop and block until it returns.

        When the blocked thread is interrupted (KeyboardInterrupt) the coroutine is cancelled, and
        if it had a result already, `undo` is run with it. WrongState once the portal is closed.
        """
        if self._loop.is_closed():
            raise WrongState("the client is closed")
        call = _Call(function, undo)
        try:
            self._loop.call_soon_threadsafe(call.start)
            return call.answer.result()
        except BaseException:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(call.abandon)
            raise

    def close(self) -> None:
        """End the loop: calls that still block fail with WrongState."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()


class _Call(Generic[T]):
    """One call. All but `answer` is touched on the loop's thread only."""

    def __init__(
        self,
        function: Callable[[], Coroutine[object, object, T]],
        undo: Callable[[T], Awaitable[object]] | None,
    ) -> None:
        self.answer: Future[T] = Future()
        self._function = function
        self._undo = undo
        self._abandoned = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._abandoned:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        self._abandoned = True
        task = self._task
        if task is None:
            return
        if not task.done():
            task.cancel()
        elif not self.answer.exception() and self._undo is not None:
            self._task = asyncio.get_running_loop().create_task(self._take_back(self._undo))

    async def _run(self) -> None:
        try:
            result = await self._function()
        except asyncio.CancelledError:
            self.answer.set_exception(WrongState("the client was closed"))
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the calling thread
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)

    async def _take_back(self, undo: Callable[[T], Awaitable[object]]) -> None:
        await undo(self.answer.result())
