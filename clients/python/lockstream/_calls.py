"""Unary calls, tried at one endpoint after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import grpc

from lockstream._errors import LockstreamError, ServerDraining, ServerUnavailable, StoreUnavailable
from lockstream._translation import from_rpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lockstream._channels import Channel, Channels
    from lockstream._options import Options

Response = TypeVar("Response")

ELSEWHERE = (ServerUnavailable, ServerDraining, StoreUnavailable)
"""Failures that another endpoint, or a later attempt, may not have."""


class Calls:
    """Makes the unary calls of a client."""

    def __init__(self, channels: Channels, options: Options) -> None:
        self._channels = channels
        self._options = options

    async def make(self, call: Callable[[Channel, float], Awaitable[Response]], *, repeatable: bool = True) -> Response:
        """What `call` returns, given a channel and the seconds it may take.

        It is tried until the connect timeout, of which each endpoint gets its share: one that hangs does not use up the
        time of the others. A call that is not `repeatable` is tried again only when the attempt before certainly had no
        effect. Raises what the last attempt raised.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.connect_timeout
        share = self._options.connect_timeout / len(self._channels)
        backoff = self._options.backoff()
        while True:
            channel = self._channels.current()
            try:
                return await call(channel, max(min(share, deadline - loop.time()), 0.001))
            except grpc.aio.AioRpcError as failure:
                error: LockstreamError = from_rpc(failure)
            if not isinstance(error, ELSEWHERE):
                raise error
            self._channels.failed(channel)
            pause = backoff.next()
            if not (repeatable or error.outcome_settled) or loop.time() + pause >= deadline:
                raise error
            await asyncio.sleep(pause)
