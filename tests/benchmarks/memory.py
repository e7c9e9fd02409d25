"""What idle sessions cost the server in memory (Linux only: it reads `/proc`)."""

import re
from pathlib import Path

from tests.benchmarks.bystanders import Role, bystander, said_ready
from tests.benchmarks.figures import Figure
from tests.benchmarks.sites import running_sites

# Opened and closed before anything is measured, so that what a server sets up once, with its first
# client, is not counted as a session's.
_WARM_UP_SESSIONS = 10
_OPEN_TIMEOUT_SECONDS = 60.0


def idle_sessions(system: str, sessions: int, role: Role, folder: Path) -> Figure:
    """Kibibytes of the server's memory per session, from none to so many that `role` opens.

    The server is a fresh one: memory that one had for sessions of the past would be used again, and not be seen.
    """
    with running_sites([system]) as sites:
        site = sites[system]

        def with_sessions(count: int) -> int:
            with bystander(role, system, site.target, str(count), folder=folder / str(count)) as client:
                client.wait_until(
                    lambda: said_ready(client), timeout=_OPEN_TIMEOUT_SECONDS, what=f"{count} sessions open"
                )
                return memory_kib(site.pids["server"])

        with_sessions(_WARM_UP_SESSIONS)
        before = memory_kib(site.pids["server"])
        return Figure((with_sessions(sessions) - before) / sessions, "KiB")


def memory_kib(pid: int) -> int:
    """Proportional set size of a process: its own pages, and its share of the shared ones."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    line = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    if line is None:
        raise OSError(f"no Pss line for process {pid}")
    return int(line[1])
