"""Leases for workers that speak to etcd directly."""

import asyncio

import grpc.aio
from etcd3 import etcdrpc

# Longer than any measurement, so that renewing leases is no part of what is measured.
LEASE_SECONDS = 120


class EtcdLeases:
    """The leases of one load generator."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = etcdrpc.LeaseStub(channel)
        self._granted: list[int] = []

    async def grant(self, count: int) -> list[int]:
        """Grant `count` leases and return their ids."""
        request = etcdrpc.LeaseGrantRequest(TTL=LEASE_SECONDS)
        replies = await asyncio.gather(*(self._stub.LeaseGrant(request) for _ in range(count)))
        leases = [int(reply.ID) for reply in replies]
        self._granted += leases
        return leases

    async def revoke(self) -> None:
        """Revoke all of them, which deletes their keys."""
        requests = [etcdrpc.LeaseRevokeRequest(ID=lease) for lease in self._granted]
        await asyncio.gather(*(self._stub.LeaseRevoke(request) for request in requests))
        self._granted.clear()
