"""Sessions and holds that write down what is asked of them, what they answer, and what is believed."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

from tests.robustness.history import (
    Believed,
    Completed,
    Disbelieved,
    End,
    Invoked,
    Notebook,
    Opened,
    Outcome,
    Part,
    Proven,
    Stalled,
    Stepped,
    now,
)
from tests.robustness.traffic.sessions import Ask, Hold, LockSession, Refused

SAMPLE_SECONDS = 0.02
"""How often local deadlines are looked at."""
STALL_SECONDS = 0.25
"""A pause between two looks that is worth a record."""
CLOCK_STEP_SECONDS = 60.0
"""A difference between wall clock and CLOCK_MONOTONIC that changes by more was made by a fault."""
DEADLINE_STEP = 0.001
"""A change of a deadline by less is the noise of two readings of the clock."""


class Answer:
    """What an operation came to, beyond that it succeeded."""

    token = 0
    reason = ""


class Ledger:
    """What one client process records of its operations and its deadlines."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.sessions: set[RecordedSession] = set()
        self._operations = itertools.count(1)
        self.beliefs = itertools.count(1)

    @contextmanager
    def operation(
        self,
        kind: str,
        *,
        session: str = "",
        parts: tuple[Part, ...] = (),
        owner: str = "",
        token: int = 0,
        wait: float | None = 0,
    ) -> Iterator[Answer]:
        """Record what is asked within, from before to after. A Refused passes through, and so does a cancellation."""
        number = next(self._operations)
        invoked = Invoked(now(), number, kind, session, parts=parts, owner=owner, token=token, wait=wait)
        self.notebook.write(invoked)
        answer = Answer()
        outcome = Outcome.UNKNOWN
        try:
            yield answer
            outcome = Outcome.OK
        except Refused as error:
            outcome = Outcome.FAILED if error.settled else Outcome.UNKNOWN
            answer.reason = error.reason
            raise
        except asyncio.CancelledError:
            answer.reason = "cancelled"
            raise
        finally:
            self.notebook.write(Completed(now(), number, outcome, answer.reason, answer.token))

    async def watch_the_clock(self) -> None:
        """Record changes of a deadline, steps of the wall clock, and when the process did not run. Until cancelled."""
        before = now()
        difference = time.time() - before
        while True:
            moment = now()
            step = time.time() - moment - difference
            if abs(step) > CLOCK_STEP_SECONDS:
                self.notebook.write(Stepped(moment, step))
                difference += step
            if moment - before > STALL_SECONDS:
                self.notebook.write(Stalled(moment, before))
            for session in self.sessions:
                session.look(before)
            before = moment
            await asyncio.sleep(SAMPLE_SECONDS)


class RecordedSession:
    """A session, written down."""

    def __init__(self, inner: LockSession, ledger: Ledger) -> None:
        self.inner = inner
        self.ledger = ledger
        self._deadline = 0.0
        self.holds: set[RecordedHold] = set()

    @property
    def ended(self) -> bool:
        """Whether nothing more can come of it."""
        return self.inner.deadline is None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open it, and close it at the end if nothing else has ended it."""
        with self.ledger.operation("open"):
            begun = now()
            await self.inner.open()
            self.ledger.notebook.write(Opened(now(), self.inner.id, self.inner.ttl, self.inner.grace))
        self.look(begun)
        self.ledger.sessions.add(self)
        try:
            yield
        finally:
            self.ledger.sessions.discard(self)
            await self._close()

    async def _close(self) -> None:
        self.disbelieve_all("close")
        if self.ended:
            await self.inner.close()
            return
        with self.ledger.operation("close", session=self.inner.id):
            await self.inner.close()

    def disbelieve_all(self, why: str) -> None:
        """Give up everything at once."""
        for hold in list(self.holds):
            hold.disbelieve(End.RELEASED, why)

    def look(self, since: float) -> None:
        """Record the local deadline if it became another after `since`."""
        deadline = self.inner.deadline
        if deadline is not None and abs(deadline - self._deadline) > DEADLINE_STEP:
            self._deadline = deadline
            self.ledger.notebook.write(Proven(now(), since, self.inner.id, deadline))

    async def acquire(self, ask: Ask) -> "RecordedHold":
        """Acquire what is asked for. Raises Refused."""
        kind = "acquire" if len(ask.parts) == 1 else "acquire_all"
        with self.ledger.operation(
            kind, session=self.inner.id, parts=ask.parts, owner=ask.owner, wait=ask.wait
        ) as answer:
            hold = RecordedHold(self, await self.inner.acquire(ask), ask)
            answer.token = hold.token
            hold.believe(ask.parts)
        return hold

    async def request_yield(self, name: str) -> None:
        """Ask for what it waits for."""
        with self.ledger.operation("request_yield", session=self.inner.id, parts=(Part(name),)):
            await self.inner.request_yield(name)


class RecordedHold:
    """A hold, written down: what its client believes of it."""

    def __init__(self, session: RecordedSession, inner: Hold, ask: Ask) -> None:
        self._session = session
        self._inner = inner
        self._ask = ask
        self._beliefs: list[int] = []
        self._lost = False

    @property
    def token(self) -> int:
        """The fencing token."""
        return self._inner.token

    @property
    def names(self) -> tuple[str, ...]:
        """Of every lock."""
        return tuple(part.name for part in self._ask.parts)

    @property
    def held(self) -> bool:
        """Whether the client believes in it at this moment."""
        deadline = self._session.inner.deadline
        return bool(self._beliefs) and deadline is not None and now() < deadline

    @property
    def yield_requested(self) -> bool:
        """Whether it was asked to be given up."""
        return self._inner.yield_requested

    def believe(self, parts: tuple[Part, ...], *, stands_on: int = 0) -> None:
        """From now on the client believes that it holds so."""
        number = next(self._session.ledger.beliefs)
        self._session.ledger.notebook.write(
            Believed(
                now(),
                number,
                self._session.inner.id,
                self._inner.acquire,
                parts,
                self._ask.owner,
                self.token,
                stands_on,
            )
        )
        self._beliefs.append(number)
        self._session.holds.add(self)
        self._inner.listen(self._on_lost)

    def disbelieve(self, end: End, reason: str = "") -> None:
        """From now on the client believes in none of it."""
        moment = now()
        self._session.ledger.notebook.write(
            *(Disbelieved(moment, number, end, reason) for number in reversed(self._beliefs))
        )
        self._beliefs.clear()
        self._session.holds.discard(self)

    def resign(self) -> None:
        """Stop believing, because it is about to be given up."""
        if self._beliefs:
            self.disbelieve(End.RELEASED)

    async def release(self) -> None:
        """Give it up. Raises Refused."""
        self.resign()
        with self._operation("release"):
            await self._inner.release()

    async def upgrade(self, wait: float | None) -> None:
        """Make it exclusive; what an earlier upgrade stood on is given up for that. Raises Refused."""
        *below, top = self._beliefs or [0]
        moment = now()
        self._session.ledger.notebook.write(*(Disbelieved(moment, number, End.RELEASED, "upgrade") for number in below))
        self._beliefs = [number for number in self._beliefs if number == top]
        with self._operation("upgrade", wait=wait) as answer:
            await self._inner.upgrade(wait)
            answer.token = self.token
            if not self._lost:
                self.believe(self._as("exclusive"), stands_on=top)

    async def downgrade(self) -> None:
        """Make it shared: it counts as that from here on. Raises Refused."""
        below, top = self._beliefs[:-1], self._beliefs[-1]
        self._session.ledger.notebook.write(Disbelieved(now(), top, End.RELEASED, "downgrade"))
        self._beliefs = below
        self.believe(self._as("shared"))
        with self._operation("downgrade"):
            await self._inner.downgrade()

    async def set_value(self, value: bytes) -> None:
        """Say something else with it. Raises Refused."""
        with self._operation("set_value"):
            await self._inner.set_value(value)

    def _operation(self, kind: str, wait: float | None = 0) -> AbstractContextManager[Answer]:
        ask, session = self._ask, self._session
        parts = self._as("exclusive") if kind == "upgrade" else ask.parts
        return session.ledger.operation(
            kind, session=session.inner.id, parts=parts, owner=ask.owner, token=self.token, wait=wait
        )

    def _as(self, mode: str) -> tuple[Part, ...]:
        return tuple(part._replace(mode=mode) for part in self._ask.parts)

    def _on_lost(self, reason: str) -> None:
        if self._beliefs:
            self.disbelieve(End.LOST, reason)
        self._lost = True
