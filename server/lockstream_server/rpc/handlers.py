"""What the handlers of all services share."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import grpc

from lockstream_server.core.errors import LockError
from lockstream_server.rpc.decoding import Undecodable
from lockstream_server.rpc.errors import abort

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


def typed_errors(
    method: Callable[[Any, Any, Context], Awaitable[T]],
) -> Callable[[Any, Any, Context], Awaitable[T]]:
    """End a call of one request with the status of whatever LockError its handler raises."""

    @wraps(method)
    async def call(self: Any, request: Any, context: Context) -> T:
        if isinstance(request, Undecodable):
            await abort(context, request.error())
        try:
            return await method(self, request, context)
        except LockError as error:
            await abort(context, error)
            raise  # not reached: abort raises

    return call
