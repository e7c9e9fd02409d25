"""Everything wired together: a store, a registry and a gRPC server."""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry import metrics

from lockstream.v1 import admin_pb2, admin_pb2_grpc, service_pb2, service_pb2_grpc
from lockstream_server.core.table import Table
from lockstream_server.rpc.admin import AdminService
from lockstream_server.rpc.decoding import LenientDecoding
from lockstream_server.rpc.service import LockService
from lockstream_server.sessions.host import Bounds, Host
from lockstream_server.sessions.quotas import Quotas
from lockstream_server.sessions.registry import Registry
from lockstream_server.settings import Settings
from lockstream_server.store.etcd import EtcdOptions, EtcdStore
from lockstream_server.store.port import Store
from lockstream_server.telemetry import register

log = logging.getLogger(__name__)

HEALTH_SECONDS = 0.25
"""How often health is looked at anew."""
GOODBYE_SECONDS = 1.0
"""Time for clients to hang up on a server that stops, before they are cut off."""
LEAVING_SECONDS = 3.0
"""Time for tasks that were cancelled to end, before they are called left."""
RESUME_TOKEN_BYTES = 24
"""Random bytes in a resume token."""
SERVICE = service_pb2.DESCRIPTOR.services_by_name["LockService"].full_name
ADMIN_SERVICE = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name


@dataclass(frozen=True, slots=True)
class Tls:
    """What a listener needs to speak TLS; all PEM."""

    certificate: bytes
    private_key: bytes
    client_ca: bytes | None


class Server:
    """One lock server on a store. `start`, then `drain` if clients are to move, then `stop`."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._settings = settings
        self._store = store
        host = Host(settings.server_name, store, Table(), _bounds(settings), time.time, quotas=_quotas(settings))
        self.registry = Registry(host, lambda: secrets.token_urlsafe(RESUME_TOKEN_BYTES))
        register(metrics.get_meter("lockstream"), host.counters, self)
        self._health = health.aio.HealthServicer()
        self._grpc = grpc.aio.server(
            interceptors=[LenientDecoding(SERVICE, ADMIN_SERVICE)], options=_channel_options(settings)
        )
        service_pb2_grpc.add_LockServiceServicer_to_server(LockService(self.registry), self._grpc)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(host), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        names = (SERVICE, ADMIN_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._grpc)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"Server({self.registry!r}, {self._store!r})"

    def sessions(self) -> int:
        """See `Gauges.sessions`."""
        return len(self.registry.sessions)

    def store_lag(self) -> float:
        """See `Gauges.store_lag`."""
        return self._store.lag

    def transactions(self) -> int:
        """See `Gauges.transactions`."""
        return self._store.transactions

    def proposals(self) -> int:
        """See `Gauges.proposals`."""
        return self._store.proposals

    async def start(self, addresses: Sequence[str], tls: Tls | None = None) -> list[str]:
        """Serve on these addresses and return them, with the port that was chosen where it was 0.

        Raises OSError if an address cannot be had. Does not wait for the store.
        """
        await self._set_health(serving=False)
        bound = [self._bind(address, tls) for address in addresses]
        self._tasks = [
            asyncio.ensure_future(self._store.follow(self.registry)),
            asyncio.ensure_future(self._watch_health()),
        ]
        await self._grpc.start()
        return bound

    async def failed(self) -> None:
        """Wait until a part that should run for ever ends, and raise what ended it."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def drain(self, patience: float) -> None:
        """Take no more sessions and give those there are `patience` seconds to move to another server."""
        self.registry.drain(time.time() + patience)
        await self._set_health(serving=False)
        try:
            async with asyncio.timeout(patience):
                await self.registry.drained()
        except TimeoutError:
            log.info("some sessions did not move", extra={"sessions": len(self.registry.sessions)})

    async def stop(self) -> None:
        """End every stream. The sessions live on in the store.

        Whoever is connected is told so first, and has a moment to hang up. Without it gRPC says that something went
        wrong, which its clients print.
        """
        await self._grpc.stop(grace=GOODBYE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.registry.close()

    def _bind(self, address: str, tls: Tls | None) -> str:
        try:
            if tls is None or address.startswith("unix:"):
                port = self._grpc.add_insecure_port(address)
            else:
                pair = [(tls.private_key, tls.certificate)]
                required = tls.client_ca is not None
                credentials = grpc.ssl_server_credentials(pair, tls.client_ca, required)
                port = self._grpc.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        if address.startswith("unix:"):
            return address
        host, _, _ = address.rpartition(":")
        return f"{host}:{port}"

    async def _watch_health(self) -> None:
        """Report NOT_SERVING while the table may be older than is bearable, or while draining."""
        serving = False
        while True:
            healthy = self._store.lag < self._settings.max_lag and not self.registry.draining
            if healthy is not serving:
                serving = healthy
                log.info("serving" if serving else "not serving", extra={"lag": round(self._store.lag, 3)})
                await self._set_health(serving)
            await asyncio.sleep(HEALTH_SECONDS)

    async def _set_health(self, serving: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if serving else statuses.NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)


async def serve(settings: Settings, *, ready: Callable[[list[str]], None] | None = None) -> None:
    """Run a server on etcd until SIGTERM or SIGINT, then drain and return.

    `ready` is called with the addresses once they are served. Raises OSError if one cannot be had.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    store = EtcdStore(_etcd_options(settings))
    server = Server(store, settings)
    try:
        addresses = await server.start(settings.listen, _tls(settings))
        if ready is not None:
            ready(addresses)
        waits = [asyncio.ensure_future(wait) for wait in (stopping.wait(), server.failed())]
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()
        log.info("draining", extra={"seconds": settings.drain_timeout})
        await server.drain(settings.drain_timeout)
    finally:
        await server.stop()
        await store.close()
        log.info("stopped", extra={"tasks": await _tasks_left()})


async def _tasks_left() -> list[str]:
    """What runs on in this loop beside whoever asks: nothing, once everything is closed."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:  # gRPC's own need a moment to see off the calls that were cancelled
        _, others = await asyncio.wait(others, timeout=LEAVING_SECONDS)
    return sorted(task.get_coro().__qualname__ for task in others)  # type: ignore[union-attr]  # a coroutine has a name


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        sessions=settings.max_sessions,
        entries_per_session=settings.max_entries_per_session,
        waiters_per_lock=settings.max_waiters_per_lock,
        outbox_events=settings.outbox_events,
        observers=settings.max_observers,
        observer_changes=settings.observer_changes,
        observer_timeout=settings.observer_timeout,
        default_ttl=settings.default_ttl,
        min_ttl=settings.min_ttl,
        max_ttl=settings.max_ttl,
        store_timeout=settings.etcd_dial_timeout,
    )


def _quotas(settings: Settings) -> Quotas:
    return Quotas(
        sessions=settings.max_sessions_per_client,
        entries=settings.max_entries_per_client,
        waiters_per_lock=settings.max_waiters_per_client,
        requests_per_second=settings.max_requests_per_second,
    )


def _etcd_options(settings: Settings) -> EtcdOptions:
    return EtcdOptions(
        endpoints=settings.etcd_targets,
        prefix=settings.etcd_prefix,
        user=settings.etcd_user or "",
        password=settings.read_etcd_password() or "",
        ca=_read(settings.etcd_ca),
        certificate=_read(settings.etcd_cert),
        private_key=_read(settings.etcd_key),
        tls=settings.etcd_tls,
        dial_timeout=settings.etcd_dial_timeout,
        request_timeout=settings.etcd_request_timeout,
        transactions_in_flight=settings.transactions_in_flight,
        transaction_proposals=settings.transaction_proposals,
        proposals_waiting=settings.proposals_waiting,
    )


def _tls(settings: Settings) -> Tls | None:
    certificate, private_key = _read(settings.tls_cert), _read(settings.tls_key)
    if certificate is None or private_key is None:
        return None
    return Tls(certificate, private_key, _read(settings.tls_client_ca))


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None else None


def _channel_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # A client that vanished without a word is noticed by pings that nobody answers.
        ("grpc.keepalive_time_ms", int(settings.keepalive_interval * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # When a server comes back, all of its clients do, at once. gRPC's own limit of 3,000 calls that wait to be
        # taken up, and from 1,000 on by chance, ends streams without a reason and lets their clients come once more.
        ("grpc.server.max_pending_requests", settings.max_sessions),
        ("grpc.server.max_pending_requests_hard_limit", settings.max_sessions),
        # Two servers on one port would share its clients by chance.
        ("grpc.so_reuseport", 0),
    ]
