"""An event loop on a thread of its own, and calls into it from threads that block."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from lockstream._errors import WrongState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

T = TypeVar("T")


class Portal:
    """Runs coroutines on a background thread's event loop.

    The thread is a daemon: a program that forgets to close still ends, and the server frees its
    locks after the grace.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._posting = threading.Lock()
        """Held to post to the loop: whatever is posted comes before the end, and is answered."""
        self._thread = threading.Thread(target=self._run, name="lockstream", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._closed

    def call(
        self,
        function: Callable[[], Coroutine[object, object, T]],
        undo: Callable[[T], Awaitable[object]] | None = None,
    ) -> T:
        """Run a coroutine function on the loop and block until it returns.

        When the blocked thread is interrupted (KeyboardInterrupt) the coroutine is cancelled, and
        if it had a result already, `undo` is run with it. WrongState once the portal is closed, and on the
        loop's own thread, which would wait for itself.
        """
        self._check_thread()
        call = _Call(function, undo)
        try:
            if self._post(call.start):
                return call.answer.result()
        except BaseException:
            self._post(call.abandon)
            raise
        raise WrongState("the client is closed")

    def close(self) -> None:
        """End the loop: calls that still block fail with WrongState. So does this on the loop's own thread."""
        self._check_thread()
        if self._post(self._loop.stop, last=True):
            self._thread.join()

    @contextmanager
    def unless_closed(self) -> Iterator[None]:
        """Pass over the WrongState of what is of no use after the end."""
        try:
            yield
        except WrongState:
            if not self._closed:
                raise

    def _check_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise WrongState("a callback must not wait for the client that calls it: let another thread do this")

    def _post(self, callback: Callable[[], None], *, last: bool = False) -> bool:
        """Have the loop call something. False if it takes nothing any more."""
        with self._posting:
            if self._closed:
                return False
            self._closed = last
            self._loop.call_soon_threadsafe(callback)
            return True

    def _run(self) -> None:
        """Run the loop until `close` ends it.

        asyncio lets SystemExit end a loop, but from this thread it would end nothing else: the program would go on, and
        its sessions would die unheard of. So it is told as any other error of a callback, and the loop goes on.
        """
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            loop = runner.get_loop()
            while True:
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:
                    loop.call_exception_handler({"message": "a callback cannot end the program", "exception": error})
                else:
                    return


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
            self._task.add_done_callback(self._ended)

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        self._abandoned = True
        task = self._task
        if task is None:
            return
        if not task.done():
            task.cancel()
        elif not task.cancelled() and not self.answer.exception() and self._undo is not None:
            self._task = asyncio.get_running_loop().create_task(self._take_back(self._undo))

    async def _run(self) -> None:
        try:
            result = await self._function()
        except asyncio.CancelledError:
            raise  # `_ended` tells
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the calling thread
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # perhaps before it took its first step
            self.answer.set_exception(WrongState("the client was closed"))

    async def _take_back(self, undo: Callable[[T], Awaitable[object]]) -> None:
        await undo(self.answer.result())
