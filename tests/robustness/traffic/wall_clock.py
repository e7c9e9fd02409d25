"""The wall clock of a client's process, which is stepped from outside while the process does whatever it does.

Processes of one machine share one CLOCK_REALTIME, so the step is made where Python reads it: `time.time` and
`time.time_ns` of this process tell the true time plus an offset, which a file has that the process maps. Whoever writes
the file steps the clock, at any moment, also of a process that is frozen or has not begun.

What that covers is all Python code which reads the wall clock through the module `time`: the client library, protobuf,
asyncio, logging, the traffic itself. What it does not cover:

- Code in C, which is gRPC's core. It reads CLOCK_MONOTONIC for what lasts, and CLOCK_REALTIME to turn the deadline of a
  call into that. gRPC's Python layer states such a deadline as `time.time()` plus a timeout, so it goes on reading the
  true time here: a step between the two readings, microseconds apart, is not covered.
- `datetime.now()`, which is in C as well. That no part of the library reads it, nor any other wall clock, is what
  `test_wall_clock.py` makes sure of.
"""

import mmap
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

_OFFSET = struct.Struct("=d")


class ClockOffset:
    """By how many seconds a wall clock is wrong, in a file; made as 0 unless it is there. Shared by whoever maps it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_OFFSET.pack(0.0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _OFFSET.size)

    @property
    def seconds(self) -> float:
        """How far the clock is ahead; negative is behind."""
        (seconds,) = _OFFSET.unpack(self._map)
        return float(seconds)

    def step(self, seconds: float) -> None:
        """Set the clock on, or back."""
        self._map[:] = _OFFSET.pack(self.seconds + seconds)


@contextmanager
def wall_clock(offset: ClockOffset, read: Callable[[], None] = lambda: None) -> Iterator[None]:
    """During the block the wall clock of this process is off by `offset`; `read` is called whenever it is read."""
    true_time, true_time_ns = time.time, time.time_ns

    def stepped_time() -> float:
        read()
        return true_time() + offset.seconds

    def stepped_time_ns() -> int:
        read()
        return true_time_ns() + round(offset.seconds * 1e9)

    with (
        patch.multiple(time, time=stepped_time, time_ns=stepped_time_ns),
        patch("grpc.aio._utils.time", SimpleNamespace(time=true_time)),
    ):
        yield
