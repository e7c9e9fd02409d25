"""One connection to an etcd cluster: endpoints in turn, authentication, TLS.

Failures are of three kinds. A *transient* one (no answer, no leader, overloaded) says nothing about the request and
moves on to the next endpoint. A refused token is renewed. Anything else is etcd's definite word on the request.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from etcd3 import etcdrpc

from lockstream_server.core.errors import LockError, Reason

log = logging.getLogger(__name__)

T = TypeVar("T")

TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
        # etcd says RESOURCE_EXHAUSTED when it is overloaded and when it is out of space: both pass.
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
RETRY_SECONDS = 0.1
"""Pause before a request is repeated after a transient failure."""

CONSISTENT_SINCE = (3, 5, 3)
"""Releases of 3.5 before this one can lose consistency after a crash (etcd's announcement of March 2022)."""
LEASES_LAST_SINCE = (3, 5, 13)
"""Before this release a member that was frozen while it led, and led no more when it woke up, ended leases which had
been renewed meanwhile (etcd's issue 15247): those sessions are then lost."""


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """How to reach etcd."""

    endpoints: Sequence[str]
    """`host:port` each; tried in turn."""
    prefix: str = "/lockstream/"
    user: str = ""
    password: str = field(default="", repr=False)
    ca: bytes | None = None
    """PEM. With it, or with a certificate, the connection uses TLS."""
    certificate: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    tls: bool = False
    dial_timeout: float = 3.0
    """Seconds after which a request that must be answered now gives up."""
    request_timeout: float = 2.0
    """Seconds after which one attempt is taken for lost."""
    transactions_in_flight: int = 3
    transaction_proposals: int = 120
    """Proposals in one transaction; 120 is safe with etcd's default of 128 operations."""
    proposals_waiting: int = 20_000


def _too_large(error: grpc.aio.AioRpcError) -> bool:
    """Whether the request is larger than etcd takes, for which gRPC has the code of an overload."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (error.details() or "")


def out_of_space(error: grpc.aio.AioRpcError) -> bool:
    """Whether etcd's NOSPACE alarm stands, under which it takes no transaction that would write."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "space exceeded" in (error.details() or "")


def harms(release: str) -> list[str]:
    """What a release of etcd is known to do that no lock service can make up for."""
    version = tuple(int(part) for part in re.findall(r"[0-9]+", release)[:3])
    found = []
    if (3, 5) <= version < CONSISTENT_SINCE:
        found.append("can lose consistency after a crash")
    if version < LEASES_LAST_SINCE:
        found.append("can end renewed leases after its leader was frozen")
    return found


class Connection:
    """A channel to one endpoint, with the calls that are made on it."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials | None) -> None:
        options = [
            ("grpc.keepalive_time_ms", 10_000),  # etcd refuses anything more often than 5 s
            ("grpc.keepalive_timeout_ms", 3_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1_000),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.max_receive_message_length", -1),  # a revision arrives in one message, however large
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self.endpoint = endpoint
        self.channel = (
            grpc.aio.insecure_channel(endpoint, options=options)
            if credentials is None
            else grpc.aio.secure_channel(endpoint, credentials, options=options)
        )
        kv = etcdrpc.KVStub(self.channel)
        lease = etcdrpc.LeaseStub(self.channel)
        self.range: Any = kv.Range
        self.txn: Any = kv.Txn
        self.put: Any = kv.Put
        self.lease_grant: Any = lease.LeaseGrant
        self.lease_revoke: Any = lease.LeaseRevoke
        self.lease_keep_alive: Any = lease.LeaseKeepAlive
        self.watch: Any = etcdrpc.WatchStub(self.channel).Watch
        self.authenticate: Any = etcdrpc.AuthStub(self.channel).Authenticate
        self.status: Any = etcdrpc.MaintenanceStub(self.channel).Status

    def __repr__(self) -> str:
        return f"Connection({self.endpoint})"


class EtcdClient:
    """The current connection, and what to do when it fails."""

    def __init__(self, options: EtcdOptions) -> None:
        if not options.endpoints:
            raise ValueError("no etcd endpoint")
        self.options = options
        self._token: str | None = None
        self._authenticating: asyncio.Lock | None = None
        self._checks: set[asyncio.Task[None]] = set()
        credentials = self._credentials()
        # One for each endpoint, for good. A channel made anew at each failure would have to wait for what is under way
        # on it before it could be closed, and in a storm of failures they would be many.
        self._connections = [Connection(endpoint, credentials) for endpoint in options.endpoints]
        self.connection = self._connections[0]
        self._members: dict[int, Connection] = {}
        """Who answers at which endpoint, as far as was asked."""

    def __repr__(self) -> str:
        return f"EtcdClient({self.connection.endpoint} of {list(self.options.endpoints)})"

    def _credentials(self) -> grpc.ChannelCredentials | None:
        options = self.options
        if not (options.tls or options.ca or options.certificate):
            return None
        return grpc.ssl_channel_credentials(options.ca, options.private_key, options.certificate)

    def failed(self, connection: Connection) -> None:
        """The connection failed; go on with the next endpoint, unless somebody did already."""
        if connection is not self.connection:
            return
        if len(self._connections) > 1:
            following = self._connections.index(connection) + 1
            self.connection = self._connections[following % len(self._connections)]
            log.info("etcd endpoint failed over", extra={"left": connection.endpoint, "to": self.connection.endpoint})

    async def metadata(self, connection: Connection) -> tuple[tuple[str, str], ...]:
        """The metadata of a call: the authentication token, when there is a user."""
        if not self.options.user:
            return ()
        if self._authenticating is None:
            self._authenticating = asyncio.Lock()
        async with self._authenticating:
            if self._token is None:
                request = etcdrpc.AuthenticateRequest(name=self.options.user, password=self.options.password)
                reply = await connection.authenticate(request, timeout=self.options.request_timeout)
                self._token = reply.token
        return (("token", self._token),)

    def refused(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether the error means that the token is old; the next call then gets a new one."""
        stale = error.code() is grpc.StatusCode.UNAUTHENTICATED or (
            error.code() is grpc.StatusCode.INVALID_ARGUMENT and "auth store is old" in (error.details() or "")
        )
        if stale:
            self._token = None
        return stale and bool(self.options.user)

    def transient(self, connection: Connection, error: grpc.aio.AioRpcError) -> bool:
        """Whether repeating the request may help. Moves on to another endpoint or token when that is what failed."""
        if self.refused(error):
            return True
        if error.code() in TRANSIENT and not _too_large(error):
            self.failed(connection)
            return True
        return False

    async def attempt(self, call: Callable[[Connection], Any], request: Any) -> Any:
        """Make a unary call once. Raises grpc.aio.AioRpcError."""
        connection = self.connection
        metadata = await self.metadata(connection)
        return await call(connection)(request, metadata=metadata, timeout=self.options.request_timeout)

    async def call(self, call: Callable[[Connection], Any], request: Any) -> Any:
        """Make a unary call that is safe to repeat, repeating it for up to the dial timeout.

        Raises LockError (STORE_UNAVAILABLE) when etcd did not answer in time, grpc.aio.AioRpcError when it refused.
        """
        last = "no answer"
        try:
            async with asyncio.timeout(self.options.dial_timeout):
                while True:
                    connection = self.connection
                    try:
                        return await self.attempt(call, request)
                    except grpc.aio.AioRpcError as error:
                        if not self.transient(connection, error):
                            raise
                        last = f"{connection.endpoint}: {error.details()}"
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            raise LockError(Reason.STORE_UNAVAILABLE, f"etcd does not answer: {last}") from None

    async def leader(self) -> Connection | None:
        """The connection to the member that leads, by the current one's word and its own; None if that cannot be told.

        Raises grpc.aio.AioRpcError when either does not answer: whoever is told of the leader can reach it.
        """
        leader = (await self._status(self.connection)).leader
        if leader not in self._members:
            await asyncio.gather(*map(self._meet, self._connections))
        connection = self._members.get(leader)
        if connection is None:
            return None
        status = await self._status(connection)
        return connection if status.leader == status.header.member_id else None

    async def _meet(self, connection: Connection) -> None:
        with suppress(grpc.aio.AioRpcError):  # another time
            self._members[(await self._status(connection)).header.member_id] = connection

    async def _status(self, connection: Connection) -> Any:
        metadata = await self.metadata(connection)
        return await connection.status(etcdrpc.StatusRequest(), metadata=metadata, timeout=self.options.request_timeout)

    def check_version(self) -> None:
        """Look up the version of the connected etcd in the background and warn of a faulty one."""
        check = asyncio.ensure_future(self._check_version())
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)

    async def _check_version(self) -> None:
        try:
            status = await self.call(lambda connection: connection.status, etcdrpc.StatusRequest())
        except (LockError, grpc.aio.AioRpcError):
            return
        for harm in harms(status.version):
            log.warning(
                "this etcd release %s; use 3.5.13 or later for data that matters",
                harm,
                extra={"etcd_version": status.version},
            )

    async def close(self) -> None:
        """Close all connections; calls under way fail."""
        for task in [*self._checks]:
            task.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)
        for connection in self._connections:
            await connection.channel.close()
