"""The driver of system `etcd-txn`: what one would write by hand on etcd's transactions.

It takes free locks only, which is all that distinct names need: there is no queue, so waiting for
a held lock is an error.
"""

from collections.abc import Sequence

import grpc.aio
from etcd3 import etcdrpc

from tests.benchmarks.etcd_leases import EtcdLeases


class TxnWorker:
    """A worker with one lease that its locks are bound to."""

    def __init__(self, kv: etcdrpc.KVStub, lease: int) -> None:
        self._kv = kv
        self._lease = lease
        self._held = b""

    async def acquire(self, name: str) -> None:
        """Put the key `name` unless it exists."""
        key = name.encode()
        absent = etcdrpc.Compare(
            key=key,
            target=etcdrpc.Compare.CREATE,
            result=etcdrpc.Compare.EQUAL,
            create_revision=0,
        )
        put = etcdrpc.RequestOp(request_put=etcdrpc.PutRequest(key=key, lease=self._lease))
        reply = await self._kv.Txn(etcdrpc.TxnRequest(compare=[absent], success=[put]))
        if not reply.succeeded:
            raise RuntimeError(f"{name} is held by another worker")
        self._held = key

    async def release(self) -> None:
        """Delete the key."""
        await self._kv.DeleteRange(etcdrpc.DeleteRangeRequest(key=self._held))


class TxnDriver:
    """Workers on one channel to etcd."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._kv = etcdrpc.KVStub(channel)
        self._leases = EtcdLeases(channel)

    async def open_workers(self, count: int) -> Sequence[TxnWorker]:
        """One worker per lease."""
        return [TxnWorker(self._kv, lease) for lease in await self._leases.grant(count)]

    def queue_prefix(self, name: str) -> str:
        """A lock is one key."""
        return name

    async def close(self) -> None:
        """Revoke the leases."""
        await self._leases.revoke()
