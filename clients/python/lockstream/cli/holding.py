"""`lockstream run` and `lockstream hold`: a lock is held while something lasts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from lockstream import Lock, Part, connect
from lockstream.cli import exits
from lockstream.cli.command import Command
from lockstream.cli.interrupts import Interrupts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from lockstream import Session


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The lock that is asked for, or several. Durations are in seconds."""

    name: str
    servers: str
    wait: float = math.inf
    """Infinity waits for ever, 0 not at all."""
    shared: bool = False
    permits: int | None = None
    limit: int | None = None
    also: tuple[str, ...] = ()
    """More locks, which are acquired all at once or not at all."""
    value: str = ""
    max_hold: float | None = None
    lock_delay: float | None = None
    ttl: float | None = None

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[Lock]:
        """Hold it while the body runs."""
        async with connect(self.servers) as client, client.session(ttl=self.ttl) as session:
            yield await self._acquire(session)

    async def _acquire(self, session: Session) -> Lock:
        wait = None if math.isinf(self.wait) else self.wait
        if self.also:
            parts = [
                Part(name, shared=self.shared, permits=self.permits, limit=self.limit)
                for name in (self.name, *self.also)
            ]
            return await session.acquire_all(parts, wait=wait, owner="", on_wait=self._tell_place)
        return await session.acquire(
            self.name,
            shared=self.shared,
            permits=self.permits,
            limit=self.limit,
            wait=wait,
            owner="",
            value=os.fsencode(self.value),
            max_hold=self.max_hold,
            lock_delay=self.lock_delay,
            on_wait=self._tell_place,
            on_yield=self._tell_wish,
        )

    def _tell_place(self, position: int) -> None:
        if sys.stderr.isatty():
            exits.say(f"waiting for {self._what()}, place {position} in the queue")

    def _tell_wish(self, _lock: Lock, remaining: float | None) -> None:
        if remaining is None:
            exits.say(f"somebody asks for {self._what()}")
        else:
            exits.say(f"{self._what()} will be taken away in {remaining:.1f} s: --max-hold is nearly over")

    def _what(self) -> str:
        names = ", ".join(map(repr, (self.name, *self.also)))
        return f"the locks {names}" if self.also else f"lock {names}"


async def run(claim: Claim, command: Sequence[str], *, kill_after: float) -> int:
    """Run a command under a lock and return the exit code of `lockstream run`.

    Raises a LockstreamError when the lock could not be acquired, LockLost when it was lost.
    """
    with Interrupts() as interrupts:
        try:
            async with claim.held() as lock:
                return await _run_under(lock, command, kill_after, interrupts)
        except asyncio.CancelledError:
            return _interrupted(interrupts)


async def _run_under(lock: Lock, command: Sequence[str], kill_after: float, interrupts: Interrupts) -> int:
    variables = {"LOCKSTREAM_NAME": "\n".join(lock.names), "LOCKSTREAM_TOKEN": str(lock.token)}
    try:
        running = await Command.start(command, variables)
    except OSError as error:  # such as arguments that are too long together
        raise exits.Exit(f"cannot run {command[0]!r}: {error.strerror}", exits.CANNOT_RUN) from error
    interrupts.redirect(running.send)
    with running.on_terminal():
        lost = asyncio.ensure_future(lock.lost.wait())
        await asyncio.wait((running.ended, lost), return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        loss = lock.lost.error
        if loss is not None and not running.ended.done():
            exits.say(f"{loss}; the command is being stopped")
            try:
                await running.stop(kill_after)
            except PermissionError:
                exits.say("the command goes on without the lock: it runs as another user, and cannot be stopped")
    if loss is not None:
        raise loss
    return running.exit_code


async def hold(claim: Claim, *, duration: float | None, as_json: bool, output: TextIO) -> int:
    """Hold a lock for `duration` seconds, or until a signal comes, and return the exit code of `lockstream hold`.

    Writes the token to `output` once it is held. Raises as `run`.
    """
    with Interrupts() as interrupts:
        try:
            async with claim.held() as lock:
                interrupted = asyncio.Event()
                interrupts.redirect(lambda _signal: interrupted.set())
                _announce(lock, as_json=as_json, output=output)
                ends = [asyncio.ensure_future(end) for end in (lock.lost.wait(), interrupted.wait())]
                await asyncio.wait(ends, timeout=duration, return_when=asyncio.FIRST_COMPLETED)
                for end in ends:
                    end.cancel()
                lock.check()
                return 0
        except asyncio.CancelledError:
            return _interrupted(interrupts)


def _announce(lock: Lock, *, as_json: bool, output: TextIO) -> None:
    if as_json:
        shown = {
            "name": lock.name,
            "names": lock.names,
            "token": lock.token,
            "shared": lock.shared,
            "permits": lock.permits,
            "session_id": lock.session.id,
        }
        output.write(json.dumps(shown) + "\n")
    else:
        output.write(f"{lock.token}\n")
    output.flush()


def _interrupted(interrupts: Interrupts) -> int:
    if interrupts.last is None:
        raise asyncio.CancelledError
    return exits.SIGNALLED + interrupts.last
