"""The gRPC channels of a client, one for each endpoint, shared by its sessions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from lockstream._errors import WrongState
from lockstream.v1 import admin_pb2_grpc, service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""A snapshot of 10,000 claims with the longest names and owners fits."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # Heartbeats find a dead connection sooner when the TTL is short; with a TTL of minutes this
    # does. Ten seconds is the least that gRPC asks clients to keep to, and pings are sent only
    # while a stream is open.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Retrying is decided by the session, which knows what may be repeated.
    ("grpc.enable_retries", 0),
    # So is when to connect again: gRPC's own pauses, up to two minutes, would outlast a lease.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # Two clients of one process do not share the fate of one connection.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy of the environment is for web pages, not for a lock server on the next machine.
    ("grpc.enable_http_proxy", 0),
)


class Channel:
    """One connection to one endpoint, with the number of streams on it."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.endpoint = endpoint
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(endpoint, credentials, options=CHANNEL_OPTIONS)
        self.stub: service_pb2_grpc.LockServiceAsyncStub = service_pb2_grpc.LockServiceStub(self._channel)
        self.admin: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(self._channel)
        self.streams = 0

    async def close(self) -> None:
        """Close the connection and end every call on it."""
        await self._channel.close()


class Channels:
    """The channels by endpoint, and the endpoint that served last."""

    def __init__(self, endpoints: Sequence[str], credentials: grpc.ChannelCredentials | None) -> None:
        self._endpoints = tuple(endpoints)
        self._credentials = credentials
        self._channels: dict[str, Channel] = {}
        self._retired: set[Channel] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._index = 0

    def __len__(self) -> int:
        """How many endpoints there are."""
        return len(self._endpoints)

    def current(self) -> Channel:
        """The channel to the endpoint that is tried first. WrongState after `close`."""
        if self._closed:
            raise WrongState("the client is closed")
        endpoint = self._endpoints[self._index]
        channel = self._channels.get(endpoint)
        if channel is None:
            channel = self._channels[endpoint] = self._connect(endpoint)
        return channel

    def failed(self, channel: Channel) -> None:
        """The endpoint did not serve: the next is tried first, unless that was found out before."""
        if self._endpoints[self._index] == channel.endpoint:
            self._index = (self._index + 1) % len(self._endpoints)

    def silent(self, channel: Channel) -> None:
        """No answer came: as `failed`, and the connection is not used for anything new."""
        self.failed(channel)
        if self._channels.get(channel.endpoint) is channel:
            del self._channels[channel.endpoint]
            self._retired.add(channel)
            self._close_if_unused(channel)

    def left(self, channel: Channel) -> None:
        """A stream on this channel ended."""
        channel.streams -= 1
        self._close_if_unused(channel)

    async def close(self) -> None:
        """Close every channel; there is none from now on."""
        self._closed = True
        channels = [*self._channels.values(), *self._retired]
        self._channels.clear()
        self._retired.clear()
        await asyncio.gather(*(channel.close() for channel in channels), *self._closing)

    def _connect(self, endpoint: str) -> Channel:
        return Channel(endpoint, self._credentials)

    def _close_if_unused(self, channel: Channel) -> None:
        if channel in self._retired and channel.streams <= 0:
            self._retired.discard(channel)
            task = asyncio.get_running_loop().create_task(channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
