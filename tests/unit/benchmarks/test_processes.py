"""What is read from `/proc`."""

import asyncio
import mmap
import os
from time import process_time

import pytest

from tests.benchmarks.cpu import cpu_seconds
from tests.benchmarks.memory import memory_kib

TICK = 1 / os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


async def test_processor_time_is_what_a_process_uses_meanwhile() -> None:
    began = process_time()
    measuring = asyncio.ensure_future(cpu_seconds({"this": os.getpid()}, after=0, during=0.1))
    while not measuring.done():  # noqa: ASYNC110 - being busy is the point
        await asyncio.sleep(0)

    assert measuring.result() == {"this": pytest.approx(process_time() - began, abs=2 * TICK)}


def test_memory_counts_pages_in_use_and_not_those_reserved() -> None:
    with mmap.mmap(-1, 16 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        reserved = memory_kib(os.getpid())
        for first_byte in range(0, len(pages), mmap.PAGESIZE):  # a buffer of that size would count as well
            pages[first_byte] = 1
        used = memory_kib(os.getpid())

    assert used - reserved == pytest.approx(16 * 1024, abs=1024)


def test_a_process_that_is_gone_has_no_memory() -> None:
    no_such_pid = 2**22 + 1  # above the largest that Linux gives out

    with pytest.raises(FileNotFoundError):
        memory_kib(no_such_pid)
