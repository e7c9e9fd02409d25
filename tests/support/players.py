"""Clients and servers of a small world in virtual time; each client objects to anything it must not be told."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from lockstream_server.core.messages import (
    Acquire,
    AcquireAll,
    AcquirePart,
    Attached,
    Cancel,
    Close,
    Downgrade,
    Granted,
    Happening,
    Jeopardy,
    Lost,
    Open,
    Outcome,
    Queued,
    Release,
    Request,
    Resume,
    Safe,
    SessionEnded,
    SetValue,
    Upgrade,
    ValueSet,
    WaitEnded,
)
from lockstream_server.core.model import Mode, Terms
from lockstream_server.core.table import Table
from lockstream_server.sessions.conversation import Conversation
from lockstream_server.sessions.host import Bounds, Host
from lockstream_server.sessions.outbox import Outbox
from lockstream_server.sessions.registry import Registry
from lockstream_server.store.memory import MemoryStore
from tests.support.controlled_store import ControlledStore
from tests.support.virtual_time import VirtualTimeLoop

TTL = 6


@dataclass(frozen=True)
class Hold:
    """What a client believes to have."""

    parts: Mapping[str, AcquirePart]
    token: int

    @property
    def name(self) -> str:
        """The first of its names."""
        return next(iter(self.parts))

    @property
    def mode(self) -> Mode:
        """How it has that."""
        return self.parts[self.name].mode


def may_both_hold(part: AcquirePart, other: AcquirePart, token: int) -> bool:
    """Whether a part may hold beside another's, which has this token."""
    if part.mode is Mode.PERMITS:
        return other.mode is Mode.PERMITS and other.terms.limit == part.terms.limit
    if part.mode is Mode.UPGRADE:
        return other.mode is Mode.SHARED and token == part.terms.upgrades
    return part.mode is Mode.SHARED and other.mode is Mode.SHARED


def by_name(parts: Sequence[AcquirePart]) -> dict[str, AcquirePart]:
    """The parts of an acquire."""
    return {part.name: part for part in parts}


class Ear(Outbox):
    """An outbox whose messages are heard the moment they are sent."""

    def __init__(self, stream: "Stream") -> None:
        super().__init__(10_000, lambda: None)
        self._stream = stream

    def reply(self, request_id: int, outcome: Outcome) -> None:
        if not self._closed:
            self._stream.hear_reply(request_id, outcome)
        super().reply(request_id, outcome)

    def push(self, happening: Happening) -> None:
        if not self._closed:
            self._stream.hear_event(happening)
        super().push(happening)


class Stream:
    """One stream of one client: what it asked, what it was told, what it may believe."""

    def __init__(self, world: "World", server: int) -> None:
        self.world = world
        self.server = server
        self.conversation = Conversation(world.registries[server], lambda: None)
        self.conversation.outbox = Ear(self)
        self.session = 0
        self.token = ""
        self.state = "begins"
        self.asked: dict[int, Request] = {}
        self.queued: set[int] = set()
        self.held: dict[int, Hold] = {}
        self.parts: dict[int, dict[str, AcquirePart]] = {}
        """What each acquire of the session is for."""
        self.refusals: Counter[str] = Counter()
        self.happenings: list[Happening] = []
        self._jeopardy = False
        self._requests = count(1)

    def __repr__(self) -> str:
        return f"<{self.session:x} on {self.server} {self.state} holds {self.held} awaits {self.queued}>"

    def begin(self, request: Open | Resume) -> None:
        number = next(self._requests)
        self.asked[number] = request
        self.world.spawn(self.conversation.begin(number, request))

    def ask(self, request: Request) -> None:
        """Send a request. Whoever gives something up believes in it no longer."""
        number = next(self._requests)
        self.asked[number] = request
        match request:
            case Acquire(acquire, name, mode, _, _, terms):
                self.parts[acquire] = by_name([AcquirePart(name, mode, terms)])
            case AcquireAll(acquire, parts):
                self.parts[acquire] = by_name(parts)
            case Upgrade(acquire, shared, token):
                self.parts[acquire] = by_name(
                    [AcquirePart(self.held[shared].name, Mode.UPGRADE, Terms(upgrades=token))]
                )
            case Downgrade(acquire):
                self._share(acquire)  # others may read from now on, told or not
                self.held[acquire] = Hold(self.parts[acquire], self.held[acquire].token)
            case SetValue(_, token):
                self.world.said.pop(token, None)
            case Release(acquire) | Cancel(acquire):
                self.held.pop(acquire, None)
            case Close():
                self.held.clear()
                self.state = "closes"
            case _:
                pass
        self.conversation.handle(number, request)

    def cut(self) -> None:
        """The stream breaks: nothing is heard or believed any more."""
        self.state = "cut"
        self.held.clear()
        self.queued.clear()
        self.asked.clear()
        self.conversation.end()

    def hear_reply(self, request_id: int, outcome: Outcome) -> None:
        request = self.asked.pop(request_id, None)
        assert request is not None, f"a second reply, or one to nothing: {outcome}"
        match request, outcome:
            case ((Acquire(acquire) | AcquireAll(acquire) | Upgrade(acquire)), Granted(told, token)):
                assert told == acquire
                self._hold(acquire, token)
            case ((Acquire(acquire) | AcquireAll(acquire) | Upgrade(acquire)), Queued()):
                self.queued.add(acquire)
            case ((Open() | Resume()), Attached()):
                self._attached(outcome)
            case ((Open() | Resume() | Close()), _):
                self.state = "over"
            case (SetValue(_, token, value), ValueSet()):
                if token not in (each.token for each in self.asked.values() if isinstance(each, SetValue)):
                    self.world.said[token] = value
            case (_, Exception()):
                self.refusals[outcome.reason.name] += 1
            case _:
                pass

    def hear_event(self, happening: Happening) -> None:
        self.happenings.append(happening)
        match happening:
            case Granted(acquire, token):
                self._await_no_more(acquire, happening)
                self._hold(acquire, token)
            case WaitEnded(acquire):
                self._await_no_more(acquire, happening)
            case Lost(acquire, name, token, _):
                held = self.held.pop(acquire)
                assert (held.name, held.token) == (name, token)
            case SessionEnded():
                left = {**self.held, **self.asked, **dict.fromkeys(self.queued)}
                assert not left, f"left in the dark: {self}, {left}"
                self.state = "over"
            case Jeopardy() | Safe():
                assert self._jeopardy is isinstance(happening, Safe)
                self._jeopardy = not self._jeopardy
            case _:
                pass

    def _await_no_more(self, acquire: int, happening: Happening) -> None:
        assert acquire in self.queued, f"told of what it does not await: {happening}"
        self.queued.remove(acquire)

    def _attached(self, told: Attached) -> None:
        self.session = told.session
        self.token = told.resume_token or self.token
        self.state = "attached"
        self.parts = self.world.parts.setdefault(self.session, self.parts)
        for claim in told.claims:
            assert {*self.parts[claim.acquire]} == {*(claim.names or [claim.name])}
            if claim.held and claim.mode is Mode.SHARED and not claim.names:
                self._share(claim.acquire)
            if claim.held:
                self._hold(claim.acquire, claim.token)
            else:
                self.queued.add(claim.acquire)

    def _share(self, acquire: int) -> None:
        self.parts[acquire] = by_name([AcquirePart(name, Mode.SHARED, Terms()) for name in self.parts[acquire]])

    def _hold(self, acquire: int, token: int) -> None:
        assert acquire not in self.held, "granted twice"
        self.held[acquire] = Hold(self.parts[acquire], token)
        self.world.check_alone(self, self.held[acquire])


class World:
    """Servers around one truth."""

    def __init__(self, servers: int) -> None:
        self.loop = VirtualTimeLoop()
        self.truth = MemoryStore()
        self.stores: list[ControlledStore] = []
        self.registries: list[Registry] = []
        self._tokens = count(1)
        self.streams: list[Stream] = []
        self.defects: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.defects.append(context))
        self._tasks: set[asyncio.Task[None]] = set()
        self._granted: dict[str, int] = {}
        self.parts: dict[int, dict[int, dict[str, AcquirePart]]] = {}
        """What each session asked for."""
        self.said: dict[int, bytes] = {}
        """By token the values that were set, where none is being set."""
        self.deleted: set[int] = set()
        """Tokens of entries that were deleted in the store by hand."""
        for number in range(servers):
            self.start(f"server-{number}")

    def start(self, name: str) -> None:
        """A server of this name starts, the next in number."""
        store = ControlledStore(self.truth)
        host = Host(name, store, Table(), Bounds(), self.loop.time)
        registry = Registry(host, new_token=lambda: f"token-{next(self._tokens)}")
        self.stores.append(store)
        self.registries.append(registry)
        self.do(store.start, registry)

    def do(self, action: Any, *arguments: Any) -> Any:
        """Call something within the loop and let everything settle that needs no store."""

        async def act() -> Any:
            result = action(*arguments)
            return await result if asyncio.iscoroutine(result) else result

        result = self.loop.run_until_complete(act())
        self.loop.settle()
        assert not self.defects, self.defects
        return result

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def open(self, server: int, *, grace: float | None = None, heartbeats: bool = False) -> Stream:
        """A client opens a session; it is attached once the store has let that through."""
        stream = Stream(self, server)
        self.streams.append(stream)
        self.do(stream.begin, Open("client", {}, TTL, grace, heartbeats))
        self.loop.advance(0.01)
        return stream

    def resume(self, before: Stream, server: int) -> Stream:
        """Its client resumes the session on another stream."""
        stream = Stream(self, server)
        stream.token = before.token
        self.streams.append(stream)
        self.do(stream.begin, Resume(before.session, before.token))
        self.loop.advance(0.01)
        return stream

    def check_alone(self, stream: Stream, hold: Hold) -> None:
        """Nobody else believes to hold what this client was just told to hold.

        Whoever had a lock taken away by others, which the grace of no lease delays, can only hear of it late.
        """
        taken = self.deleted.union(*(store.evicted for store in self.stores))
        if hold.token in taken:
            return
        believed = {
            (other.session, held.token): held
            for other in self.streams
            for held in other.held.values()
            if held.token not in taken
        }
        for name, part in hold.parts.items():
            beside = {whose: held.parts[name] for whose, held in believed.items() if name in held.parts}
            for (session, token), other in beside.items():
                if (session, token) != (stream.session, hold.token):
                    assert may_both_hold(part, other, token), f"{name!r} is {other} of {session:x} beside {stream}"
            permits = sum(each.terms.permits for each in beside.values())
            assert permits <= part.terms.limit, f"{permits} permits of {name!r} are held: {beside}"
            if part.mode in (Mode.EXCLUSIVE, Mode.UPGRADE):
                assert hold.token >= self._granted.get(name, 0), "tokens grow from grant to grant"
                self._granted[name] = hold.token

    def quiesce(self) -> None:
        """Let everything through until nothing is under way."""
        for store in self.stores:
            self.do(store.confirm)
        self.loop.advance(0.01)
        while any([self.do(store.move) for store in self.stores]):  # noqa: C419 - every store moves
            self.loop.advance(0.01)

    def close(self) -> None:
        """End it all."""
        for store, registry in zip(self.stores, self.registries, strict=True):
            self.do(registry.close)
            self.do(store.stop)
        for task in list(self._tasks):
            task.cancel()
        self.do(self.truth.close)
        self.loop.close()
