"""A lock server of the simulated world: everything of a real one but gRPC and etcd."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

from lockstream_server.core.table import Table
from lockstream_server.rpc.service import LockService
from lockstream_server.sessions.host import Bounds, Host
from lockstream_server.sessions.registry import Registry
from tests.simulation.audit import StreamAudit
from tests.simulation.calls import Call, Context
from tests.simulation.etcd_link import EtcdLink
from tests.simulation.line import Line
from tests.simulation.network import Network
from tests.simulation.processes import Process


class LockServer:
    """One place where a server runs, dies and is started again with nothing in memory."""

    def __init__(self, name: str, network: Network, line: Line, bounds: Bounds) -> None:
        self.name = name
        self.line = line
        self._network = network
        self._bounds = bounds
        self._starts = 0
        self._handlers: dict[asyncio.Task[Any], None] = {}
        self.clock_error = 0.0
        """Seconds by which its wall clock is wrong."""
        self.start()

    def __repr__(self) -> str:
        return f"{self.process}: {self.registry}, {self.link}"

    def start(self) -> None:
        """Start a process that knows nothing."""
        network = self._network
        self._starts += 1
        self.running = True
        # Multiples of a second that no other process has: clocks of different processes must never be compared.
        epoch = 10_000.0 * self._starts + network.random.randrange(1_000)
        self.process = process = Process(network.scheduler, f"{self.name}.{self._starts}", epoch)
        self.link = EtcdLink(process, self.line, transactions=network.random.choice((1, 4, 120)), in_flight=3)
        host = Host(self.name, self.link, Table(), self._bounds, self._wall_clock)
        self.registry = Registry(host, self._new_token)
        self._service = LockService(self.registry)
        self._handlers = {}
        self.following = process.create_task(self.link.follow(self.registry))
        network.trace.note(process.name, "starts")

    def _wall_clock(self) -> float:
        return 1_700_000_000.0 + self._network.scheduler.now + self.clock_error

    def _new_token(self) -> str:
        return f"{self._network.random.getrandbits(64):x}"

    async def accept(self, call: Call) -> None:
        """Handle a call, as gRPC would."""
        task = asyncio.current_task()
        assert task is not None
        self._handlers[task] = None
        context: Any = Context(call)
        audit = StreamAudit(call)
        context.read, context.write = audit.reading(call.next_request), audit.writing(call.reply)
        try:
            await self._service.Session(None, context)
        except grpc.aio.AbortError:
            pass  # the status is set
        except grpc.aio.UsageError:
            assert call.over, "a handler wrote to a call that was not over, and failed"
        except asyncio.CancelledError:
            if not call.over and not self.registry.draining:
                raise
            call.fail(grpc.StatusCode.UNAVAILABLE, "the server stops", ())
        finally:
            self._handlers.pop(task, None)
            if not call.over:
                call.finish()

    def kill(self, *, silently: bool) -> None:
        """End the process at once. Its system tells those who were connected, unless it died as well."""
        if not self.running:
            return
        self._network.trace.note(self.process.name, "is killed" + (" silently" if silently else ""))
        self.running = False
        for call in [*self._network.calls]:
            if call.server is self.process:
                call.died(self.process, silently=silently)
        self.link.break_watch()
        self.process.kill()

    def start_again(self) -> None:
        """Start it, if it does not run."""
        if not self.running:
            self.start()

    def begin_to_drain(self, patience: float, then: Callable[[], None]) -> None:
        """Stop as an operator would have it; `then` is called when it has."""
        if not self.registry.draining:
            self.process.create_task(self._drain(patience, then))

    async def _drain(self, patience: float, then: Callable[[], None]) -> None:
        """What a server does on SIGTERM: let everybody move, then end every stream and stop."""
        self._network.trace.note(self.process.name, "drains")
        self.registry.drain(self._wall_clock() + patience)
        try:
            async with asyncio.timeout(patience):
                await self.registry.drained()
        except TimeoutError:
            pass
        for task in [*self._handlers]:
            task.cancel()
        if self._handlers:
            await asyncio.wait([*self._handlers])
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)
        await self.registry.close()
        self._network.after(0.0, self.process, partial(self._stopped, then))

    def _stopped(self, then: Callable[[], None]) -> None:
        self.kill(silently=False)
        then()
