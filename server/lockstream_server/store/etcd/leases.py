"""Renewing leases: a few LeaseKeepAlive streams for all of them, to the member of etcd that leads.

etcd answers the renewals of one stream one after the other, and a member that does not lead asks the leader about each,
which costs etcd about five times the processor time. With one stream to a follower there were 1,600 renewals a second
at best, where 5,000 sessions with a TTL of 10 s need 1,500.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
from etcd3 import etcdrpc

from lockstream_server.store.etcd.client import RETRY_SECONDS, Connection, EtcdClient
from lockstream_server.store.etcd.streams import StreamBrokenError, until_first

log = logging.getLogger(__name__)

STREAMS = 32
"""Enough for 5,000 renewals in a third of 10 s when a follower and its leader are 20 ms apart."""
LEADER_SECONDS = 2.0
"""Between two looks for who leads."""
LOOKS = 8
"""How often, while an answer may take, it is looked whether one has come."""
ASKERS = 64
"""How many wait for the answer about one lease; of more, the latest: those before them have long given up."""

Confirm = Callable[[bool], None]


class _MovedError(Exception):
    """There is a better place for a stream."""


class Pending:
    """The renewals of one lease that are unanswered.

    An answer is only worth something to those who asked before the request that it answers was sent; whoever asks later
    waits for the next.
    """

    __slots__ = ("asked", "later")

    def __init__(self, confirm: Confirm) -> None:
        self.asked = deque([confirm], ASKERS)
        self.later: deque[Confirm] = deque(maxlen=ASKERS)

    def ask_anew(self) -> None:
        """The request is sent again, now for all."""
        self.asked.extend(self.later)
        self.later.clear()


class KeepAlives:
    """Renews leases. Runs as one task; a stream is opened when there is something to say on it."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client
        self._leader: Connection | None = None
        """Where to renew; None to go where everything else goes."""
        self._streams = [KeepAliveStream(client, self._connection, self._failed) for _ in range(STREAMS)]

    def __repr__(self) -> str:
        return f"KeepAlives({self._streams!r})"

    def renew(self, lease: int, confirm: Confirm) -> None:
        """Ask for a renewal. A lease has its stream, so that its renewals are answered in order."""
        self._streams[lease % STREAMS].renew(lease, confirm)

    async def run(self) -> None:
        """Keep the streams open and use them, until cancelled."""
        await asyncio.gather(self._follow_the_leader(), *(stream.run() for stream in self._streams))

    def _connection(self) -> Connection:
        return self._leader or self._client.connection

    def _failed(self, connection: Connection) -> None:
        self._client.failed(connection)
        if connection is self._leader:
            self._leader = None

    async def _follow_the_leader(self) -> None:
        """Move to whoever leads and has just answered: what works is never left for what does not."""
        while len(self._client.options.endpoints) > 1:
            with suppress(grpc.aio.AioRpcError):  # another time
                leader = await self._client.leader()
                if leader is not None and leader is not self._leader:
                    self._leader = leader
                    for stream in self._streams:
                        stream.move()
            await asyncio.sleep(LEADER_SECONDS)


class KeepAliveStream:
    """Sends renewals and hands out their answers, on one stream after the other."""

    def __init__(
        self, client: EtcdClient, choose: Callable[[], Connection], failed: Callable[[Connection], None]
    ) -> None:
        """`choose` says where to renew; `failed` is told, as soon as that is known, that there it failed."""
        self._client = client
        self._choose = choose
        self._failed = failed
        self._elsewhere = asyncio.Event()
        self._pending: dict[int, Pending] = {}
        """By lease, the one asked for last at the end."""
        self._unsent: deque[int] = deque()
        self._wake = asyncio.Event()
        self._looks_left = LOOKS
        """How often to look for an answer before the stream counts as broken."""

    def __repr__(self) -> str:
        return f"KeepAliveStream(pending={len(self._pending)}, unsent={len(self._unsent)})"

    def renew(self, lease: int, confirm: Confirm) -> None:
        """Ask for a renewal."""
        pending = self._pending.pop(lease, None)
        if pending is not None:
            pending.later.append(confirm)
            self._pending[lease] = pending
            return
        if not self._pending:
            self._looks_left = LOOKS
        self._pending[lease] = Pending(confirm)
        self._unsent.append(lease)
        self._wake.set()

    def move(self) -> None:
        """Go on at another connection."""
        self._elsewhere.set()

    async def run(self) -> None:
        """Keep a stream open and use it, until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            connection = self._choose()
            self._elsewhere.clear()
            try:
                metadata = await self._client.metadata(connection)
                call = connection.lease_keep_alive(metadata=metadata)
                try:
                    self._begin_anew()
                    await until_first(self._write(call), self._read(call), self._watch_over(), self._moved())
                finally:
                    call.cancel()
            except _MovedError:
                continue
            except grpc.aio.AioRpcError as error:
                if not self._client.refused(error):
                    self._failed(connection)
                log.debug("lease stream broke", extra={"code": error.code().name, "detail": error.details()})
            except StreamBrokenError as error:
                self._failed(connection)
                log.debug("lease stream broke", extra={"endpoint": connection.endpoint, "detail": str(error)})
            await asyncio.sleep(RETRY_SECONDS)

    def _begin_anew(self) -> None:
        """A new stream: everything unanswered is asked again, for all who asked so far.

        What was asked for last comes first: after an outage, sessions that live go before those that ended in it.
        """
        self._looks_left = LOOKS
        for pending in self._pending.values():
            pending.ask_anew()
        self._unsent = deque(reversed(self._pending))

    async def _write(self, call: Any) -> None:
        while True:
            while self._unsent:
                await call.write(etcdrpc.LeaseKeepAliveRequest(ID=self._unsent.popleft()))
            self._wake.clear()
            await self._wake.wait()

    async def _read(self, call: Any) -> None:
        while (answer := await call.read()) is not grpc.aio.EOF:
            self._looks_left = LOOKS
            pending = self._pending.pop(answer.ID, None)
            if pending is None:
                continue
            for confirm in pending.asked:
                try:
                    confirm(answer.TTL > 0)
                except Exception:
                    # A defect in one session must not keep the others from being renewed.
                    log.exception("confirming a renewal failed")
            for confirm in pending.later:
                self.renew(answer.ID, confirm)

    async def _moved(self) -> None:
        await self._elsewhere.wait()
        raise _MovedError

    async def _watch_over(self) -> None:
        """End when nothing was answered for longer than an answer may take.

        That a renewal waits behind many which are answered is no reason: elsewhere all of them would be asked again.
        Nor is that this process was too slow to read the answers: between two looks it reads what is there.
        """
        while self._looks_left:
            await asyncio.sleep(self._client.options.request_timeout / LOOKS)
            if self._pending:
                self._looks_left -= 1
        raise StreamBrokenError("no answer")
