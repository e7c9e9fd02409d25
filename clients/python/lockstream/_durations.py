"""Durations of the protocol, which are seconds in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf import duration_pb2


def seconds(duration: duration_pb2.Duration) -> float:
    """A protobuf duration as seconds."""
    return duration.seconds + duration.nanos / 1e9
