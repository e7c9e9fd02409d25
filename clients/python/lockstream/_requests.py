"""Requests as callers state them, in messages that can be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from lockstream._errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf import duration_pb2

P = ParamSpec("P")
Message = TypeVar("Message")

_NANOSECONDS = 1e9
"""No int, by which text could be multiplied."""


def build(message: Callable[P, Message], *args: P.args, **fields: P.kwargs) -> Message:
    """A message with these fields.

    InvalidArgument for what it cannot carry, such as text that UTF-8 cannot encode or a number that is too large.
    Whatever it can carry is left to the server to judge.
    """
    try:
        return message(*args, **fields)
    except (TypeError, ValueError) as error:
        stated = ", ".join(f"{field}={value!r}" for field, value in fields.items())
        raise InvalidArgument(f"no request can say {stated}: {error}") from None


def say_duration(duration: duration_pb2.Duration, field: str, seconds: float | None) -> None:
    """Set a duration of a request unless it is None. InvalidArgument, with the name of the field, for what is none."""
    if seconds is not None:
        try:
            duration.FromNanoseconds(round(seconds * _NANOSECONDS))
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgument(f"{field} is a number of seconds, not {seconds!r}") from None
        duration.SetInParent()  # zero is said too, and left to the server to judge
