"""Where the processor's time goes (Linux only: it reads `/proc`)."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_USER_TICKS, _SYSTEM_TICKS = 11, 12  # fields 14 and 15 of proc_pid_stat(5), counted from after the name


async def cpu_seconds(processes: Mapping[str, int], *, after: float, during: float) -> dict[str, float]:
    """Seconds of processor time that each process, given by its id, uses `during` some seconds, `after` others.

    All its threads count, in user and in kernel mode. The resolution is a clock tick, 10 ms as a rule.
    """
    await asyncio.sleep(after)
    before = {name: _used(pid) for name, pid in processes.items()}
    await asyncio.sleep(during)
    return {name: _used(pid) - before[name] for name, pid in processes.items()}


def _used(pid: int) -> float:
    _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    numbers = fields.split()
    return (int(numbers[_USER_TICKS]) + int(numbers[_SYSTEM_TICKS])) / _TICKS_PER_SECOND
