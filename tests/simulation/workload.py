"""What the clients of the simulated world do: the whole grammar, at random, through the real library."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Any

import lockstream
from lockstream import LockstreamError
from tests.simulation.beliefs import Belief

if TYPE_CHECKING:
    from tests.simulation.clients import ClientProcess

LIMITS = {"pool": 3, "gate": 2}
"""The semaphores, with their limits."""

DEFECTS = (
    lockstream.ProtocolError,
    lockstream.ServerDefect,
    lockstream.InvalidArgument,
    lockstream.StaleToken,
    lockstream.AcquireIdReused,
    lockstream.AlreadyHeld,
    lockstream.NotHeld,
    lockstream.NotFound,
    lockstream.BadResumeToken,
    lockstream.LimitMismatch,
)
"""Errors that nothing in the world excuses: no client here does anything that deserves them."""


class Worker:
    """One task of a client that uses its session until that ends."""

    def __init__(self, client: "ClientProcess", session: lockstream.Session, number: int) -> None:
        self._client = client
        self._session = session
        self._random: Random = client.random
        self._who = f"{client.name}/{number}"
        self._held: set[str] = set()
        self._lock: lockstream.Lock | None = None
        """The lock that something is done with."""
        self.doing = "nothing yet"

    async def run(self) -> None:
        """Do one thing after another, until the session ended or the world winds down."""
        while self._session.ended is None and not self._client.stopping:
            await self._pause(self._client.habits.idle)
            await self._attempt(self._act)
        self.doing = "done"

    async def _attempt(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except DEFECTS as error:
            if isinstance(error, lockstream.NotHeld) and self._lock is not None and self._client.taken(self._lock):
                return  # the news of that is on its way
            self._client.fail(f"{self._who} {self.doing}: {error!r}")
        except LockstreamError as error:
            self._client.note(f"{self._who} {self.doing}: {error!r}")
            self._client.count(type(error).__name__)
        except TimeoutError:
            self._client.note(f"{self._who} {self.doing}: gave up")
            self._client.count("gave up")
        else:
            self._client.count(self.doing.partition(" ")[0])

    async def _act(self) -> None:
        act = self._random.choices(
            (self._one, self._several, self._impatient, self._by_context, self._reentrant), weights=(8, 2, 2, 1, 1)
        )[0]
        await act()

    # What it asks for.

    async def _one(self) -> None:
        await self._use(await self._acquire())

    async def _impatient(self) -> None:
        """Give up from outside, as a caller with a timeout of its own does."""
        lock = None
        async with asyncio.timeout(self._random.random() * self._client.habits.patience):
            lock = await self._acquire(wait=None)
        await self._use(lock)

    async def _several(self) -> None:
        names = [name for name in self._client.names if name not in self._held]
        chosen = self._random.sample(names, min(len(names), self._random.randint(1, 3)))
        if not chosen:
            return
        parts = [self._part(name) for name in chosen]
        self.doing = f"acquire_all {parts}"
        wait = self._wait()
        lock = await self._answered(self._session.acquire_all(parts, wait=wait, on_lost=self._client.lost), wait)
        permits = {part.name: (part.permits, part.limit) for part in parts if part.permits and part.limit}
        await self._use(self._believe(lock, permits, frozenset(part.name for part in parts if part.shared)))

    async def _by_context(self) -> None:
        """The context manager, whose body is cancelled when the lock is lost."""
        name = self._name()
        if name is None or name in LIMITS:
            return
        self.doing = f"lock {name}"
        async with self._session.lock(name, wait=self._wait(least=0.01)) as lock:
            belief = self._believe(lock, {}, frozenset())
            try:
                await self._pause(self._client.habits.hold)
            finally:
                self._client.drop(belief)

    async def _reentrant(self) -> None:
        name = self._name()
        if name is None or name in LIMITS:
            return
        self.doing = f"acquire {name} reentrantly"
        lock = await self._session.acquire(name, reentrant=True, wait=self._wait(least=0.01))
        belief = self._believe(lock, {}, frozenset())
        try:
            again = await self._session.acquire(name, reentrant=True)
            await self._pause(self._client.habits.hold)
            await again.release()
        finally:
            self._client.drop(belief)
        await self._give_up(lock)

    async def _acquire(self, **stated: Any) -> Belief | None:
        """Any single lock that is not held by this worker already."""
        random, habits = self._random, self._client.habits
        name = self._name()
        if name is None:
            return None
        options: dict[str, Any] = {"wait": self._wait(), **stated}
        if name in LIMITS:
            options.update(limit=LIMITS[name], permits=random.randint(1, LIMITS[name]))
        elif random.random() < habits.sharing:
            options["shared"] = True
        elif random.random() < habits.delays:
            options["lock_delay"] = random.choice((0.5, 3.0))
        if random.random() < habits.limits:
            options["max_hold"] = random.choice((1.0, 1.5, 3.0))
        if random.random() < 0.1:
            options["request_yield"] = True
        if random.random() < 0.1:
            options["value"] = b"begun"
        self.doing = f"acquire {name} {options}"
        lock = await self._answered(self._session.acquire(name, on_lost=self._client.lost, **options), options["wait"])
        permits = {name: (options["permits"], options["limit"])} if name in LIMITS else {}
        belief = self._believe(lock, permits, frozenset())
        belief.values = frozenset((options.get("value", b""),))
        return belief

    async def _answered(self, acquire: Awaitable[lockstream.Lock], wait: float | None) -> lockstream.Lock:
        """An acquire that waits for a time is answered within it, or within what the session needs to end."""
        begun = self._client.process.time()
        try:
            return await acquire
        finally:
            self._client.check_patience(self, begun, wait)

    # What it does with what it has.

    async def _use(self, belief: Belief | None) -> None:
        if belief is None:
            return
        lock = belief.lock
        self._held.update(lock.names)
        try:
            for _ in range(self._random.randrange(3)):
                self.doing = f"hold {lock}"
                await self._pause(self._client.habits.hold)
                if not lock.held:
                    break
                await self._attempt(lambda: self._work(belief))
        finally:
            self._held.difference_update(lock.names)
        await self._give_up(lock, belief)

    async def _work(self, belief: Belief) -> None:
        lock, random = belief.lock, self._random
        self._lock = lock
        kind = random.randrange(8)
        if kind > 4 and len(self._held) < self._client.habits.nesting:
            await self._use(await self._acquire())
        elif kind == 1 and len(lock.names) == 1:
            self.doing = f"set_value {lock}"
            value = f"{random.getrandbits(16):x}".encode()
            belief.values |= {value}
            await lock.set_value(value)
            belief.values = frozenset((value,))
        elif kind in (2, 3) and len(lock.names) == 1 and lock.shared:
            self.doing = f"upgrade {lock}"
            wait = self._wait()
            begun = self._client.process.time()
            try:
                await lock.upgrade(wait=wait)
            except lockstream.NotHeld:
                if lock.held:
                    raise
                return  # it was lost before, or meanwhile
            finally:
                self._client.check_patience(self, begun, wait)
            belief.values, belief.downgraded = frozenset((b"",)), False  # another entry, which says nothing yet
            self._client.believe(belief)
        elif kind in (2, 3) and len(lock.names) == 1 and not lock.permits:
            self.doing = f"downgrade {lock}"
            try:
                await lock.downgrade()
            except lockstream.WrongState:
                return  # with a lock delay it cannot become shared
            belief.downgraded = True
        else:
            lock.check()

    async def _give_up(self, lock: lockstream.Lock, belief: Belief | None = None) -> None:
        if belief is not None:
            self._client.drop(belief)
        if lock.lost.is_set():
            return
        self._lock = lock
        self.doing = f"release {lock}"
        begun = self._client.process.time()
        try:
            await lock.release()
        finally:
            self._client.check_patience(self, begun, 0)

    # Chance.

    def _believe(self, lock: lockstream.Lock, permits: dict[str, tuple[int, int]], shared: frozenset[str]) -> Belief:
        belief = Belief(self._who, lock, permits, shared, lock.token, self._client.excused)
        self._client.believe(belief)
        return belief

    def _name(self) -> str | None:
        names = [name for name in self._client.names if name not in self._held]
        return self._random.choice(names) if names else None

    def _part(self, name: str) -> lockstream.Part:
        if name in LIMITS:
            return lockstream.Part(name, permits=self._random.randint(1, LIMITS[name]), limit=LIMITS[name])
        return lockstream.Part(name, shared=self._random.random() < self._client.habits.sharing)

    def _wait(self, least: float = 0.0) -> float | None:
        return self._random.choice((None, None, None, least, 0.05, 1.0, 5.0))

    async def _pause(self, most: float) -> None:
        await asyncio.sleep(self._random.random() ** 3 * most)
