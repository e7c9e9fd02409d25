"""Messages that cannot be decoded: a mistake of the client, where gRPC by itself would log a traceback."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from lockstream_server.core.errors import LockError, invalid


class Undecodable:
    """Stands for a message that is none of the expected type."""

    @staticmethod
    def error() -> LockError:
        """What its sender is told."""
        return invalid("message", "cannot be decoded")


UNDECODABLE = Undecodable()


class LenientDecoding(grpc.aio.ServerInterceptor):
    """Hands `UNDECODABLE` to the methods of our services for every message that cannot be decoded."""

    def __init__(self, *services: str) -> None:
        self._prefixes = tuple(f"/{service}/" for service in services)

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The method as it is, but for how it decodes."""
        handler = await continuation(handler_call_details)
        ours = handler_call_details.method.startswith(self._prefixes)
        if not ours or handler is None or handler.request_deserializer is None:
            return handler
        decode, encode = _lenient(handler.request_deserializer), handler.response_serializer
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(handler.stream_stream, decode, encode)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(handler.unary_unary, decode, encode)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(handler.unary_stream, decode, encode)
        return handler


def _lenient(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode_or_mark(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return UNDECODABLE

    return decode_or_mark
