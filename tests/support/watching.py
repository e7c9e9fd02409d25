"""Watching locks by hand, for tests whose subject is what observers are told."""

import asyncio
from collections.abc import Callable
from typing import Self

import grpc
from google.rpc import error_details_pb2, status_pb2

from lockstream.v1 import lock_pb2, service_pb2, service_pb2_grpc

Kind = service_pb2.LockChange
Told = service_pb2.WatchLocksResponse

PATIENCE = 15.0
"""Seconds after which something awaited has failed to happen."""


class Watcher:
    """One WatchLocks call on a connection of its own, which keeps everything it read."""

    def __init__(self, target: str, *, name: str = "", prefix: str = "", after: int = 0) -> None:
        # A connection of its own, whose window does not grow: not reading is felt after some 100 kB.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        self._channel = grpc.aio.insecure_channel(target, options=options)
        stub: service_pb2_grpc.LockServiceAsyncStub = service_pb2_grpc.LockServiceStub(self._channel)
        names = {"name": name} if name else {"prefix": prefix}
        self._call = stub.WatchLocks(service_pb2.WatchLocksRequest(after_revision=after, **names))
        self.messages: list[Told] = []
        self.changes: list[tuple[int, Kind]] = []
        """Every change so far, with its revision."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._call.cancel()
        await self._channel.close()

    @property
    def revision(self) -> int:
        """Up to which everything was told."""
        return self.messages[-1].revision

    async def read(self) -> Told:
        """The next message."""
        async with asyncio.timeout(PATIENCE):
            told = await self._call.read()
        if not isinstance(told, Told):
            raise EOFError(f"the server ended the watch with {await self._call.code()}")  # noqa: TRY004 - gRPC's EOF
        self.messages.append(told)
        self.changes += ((told.revision, change) for change in told.changes.changes)
        return told

    async def snapshot(self) -> list[lock_pb2.Lock]:
        """Read all of it."""
        locks: list[lock_pb2.Lock] = []
        while True:
            told = await self.read()
            assert told.WhichOneof("told") == "snapshot"
            locks += told.snapshot.locks
            if told.snapshot.complete:
                return locks

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read until what was read makes it true."""
        while not condition():
            await self.read()

    async def until_changes(self, number: int) -> None:
        """Read until there were so many changes in all."""
        await self.until(lambda: len(self.changes) >= number)

    async def next_changes(self, number: int) -> list[tuple[str, str]]:
        """The kinds and the names of the next so many changes."""
        before = len(self.changes)
        await self.until_changes(before + number)
        return [(kind(change), change.name) for _, change in self.changes[before:]]

    async def end(self) -> "Ended":
        """Read whatever there is still, and why it ends."""
        try:
            while True:
                await self.read()
        except grpc.aio.AioRpcError as error:
            return Ended(error)


class Ended:
    """How a call failed."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.reason = ""
        self.field = ""
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        assert isinstance(details, bytes)
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(request):
                self.field = request.field_violations[0].field

    def __repr__(self) -> str:
        return f"Ended({self.code}, {self.reason}, {self.field})"


def kind(change: Kind) -> str:
    """What happened, in a word."""
    return Kind.Kind.Name(change.kind).removeprefix("KIND_")


def shown(changes: list[tuple[int, Kind]]) -> list[tuple[int, str, str, int]]:
    """Revision, kind, name and token of each: what every server tells alike."""
    return [(revision, kind(change), change.name, change.entry.token) for revision, change in changes]
