"""The store port on etcd."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import grpc
from etcd3 import etcdrpc

from lockstream_server.core.changes import Revision, Snapshot
from lockstream_server.core.errors import LockError, Reason
from lockstream_server.store.etcd.client import EtcdClient, EtcdOptions
from lockstream_server.store.etcd.commits import Commits
from lockstream_server.store.etcd.history import History
from lockstream_server.store.etcd.leases import KeepAlives
from lockstream_server.store.etcd.transactions import Transactions
from lockstream_server.store.etcd.watch import Watch, decode_puts, read_lock_request, snapshot_of
from lockstream_server.store.keys import Keys, decode_session
from lockstream_server.store.port import Feed, Lease, Proposal, Recorded, Settle

REVOCATIONS = 64
"""Leases that are revoked at a time. Thousands of sessions may end at once, and their end is not to keep etcd from the
rest; each revocation alone would then be taken for lost before its turn came, and be repeated."""


class EtcdStore:
    """A `Store` on an etcd cluster. Use it within the event loop that made it, and close it."""

    def __init__(self, options: EtcdOptions) -> None:
        self._keys = Keys(options.prefix)
        self._client = EtcdClient(options)
        self._client.check_version()
        self.commits = Commits(self._client, Transactions(self._keys))
        self._watch = Watch(self._client, self._keys)
        self._history = History(self._client, self._keys, self._watch)
        self._keepalives = KeepAlives(self._client)
        self._revocations = asyncio.Semaphore(REVOCATIONS)
        self._renewing = asyncio.ensure_future(self._keepalives.run())

    def __repr__(self) -> str:
        return f"EtcdStore({self._client!r}, {self.commits!r}, {self._watch!r}, {self._keepalives!r})"

    def propose(self, proposal: Proposal, settle: Settle) -> None:
        """See `Store.propose`."""
        self.commits.propose(proposal, settle)

    async def grant_lease(self, ttl: int) -> Lease:
        """See `Store.grant_lease`. A lease whose answer was lost ends by itself."""
        try:
            reply = await self._client.call(
                lambda connection: connection.lease_grant, etcdrpc.LeaseGrantRequest(TTL=ttl)
            )
        except grpc.aio.AioRpcError as error:
            raise refused(error) from error
        return Lease(reply.ID, reply.TTL)

    async def revoke_lease(self, session: int) -> None:
        """See `Store.revoke_lease`."""
        request = etcdrpc.LeaseRevokeRequest(ID=session)
        try:
            async with self._revocations:
                await self._client.call(lambda connection: connection.lease_revoke, request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise refused(error) from error

    def renew_lease(self, session: int, confirm: Callable[[bool], None]) -> None:
        """See `Store.renew_lease`."""
        self._keepalives.renew(session, confirm)

    async def read_session(self, session: int) -> Recorded | None:
        """See `Store.read_session`."""
        try:
            reply = await self._client.call(
                lambda connection: connection.range, etcdrpc.RangeRequest(key=self._keys.session(session))
            )
        except grpc.aio.AioRpcError as error:
            raise refused(error) from error
        for kv in reply.kvs:
            record = decode_session(kv.value)
            if record is not None:
                return Recorded(record, kv.mod_revision)
        return None

    async def read_lock(self, name: str) -> Snapshot:
        """See `Store.read_lock`."""
        try:
            reply = await self._client.call(lambda connection: connection.range, read_lock_request(self._keys, name))
        except grpc.aio.AioRpcError as error:
            raise refused(error) from error
        return snapshot_of(decode_puts(self._keys, reply.kvs), reply.header.revision)

    async def follow(self, feed: Feed) -> None:
        """See `Store.follow`."""
        await self._watch.run(feed)

    async def read_state(self, revision: int) -> Snapshot:
        """See `Store.read_state`."""
        return await self._history.state(revision)

    def read_history(self, after: int, until: int) -> AsyncGenerator[Revision, None]:
        """See `Store.read_history`."""
        return self._history.since(after, until)

    @property
    def lag(self) -> float:
        """See `Store.lag`."""
        return self._watch.lag

    @property
    def transactions(self) -> int:
        """See `Store.transactions`."""
        return self.commits.committed

    @property
    def proposals(self) -> int:
        """See `Store.proposals`."""
        return self.commits.proposed

    async def close(self) -> None:
        """Abandon everything under way and disconnect."""
        self._renewing.cancel()
        await asyncio.gather(self._renewing, return_exceptions=True)
        await self.commits.close()
        await self._client.close()


def refused(error: grpc.aio.AioRpcError) -> LockError:
    """A definite no of etcd's to a request that should not get one, such as missing permissions."""
    return LockError(Reason.STORE_UNAVAILABLE, f"etcd refuses: {error.code().name}: {error.details()}")
