"""Which process a connection comes from, as the kernel tells (Linux).

etcd's members dial each other at one address that all of them know, so where a connection arrives does not tell who
dialled it, and a link between two of them could not be told from their links to the third.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_LOCAL, _INODE = 1, 9
"""Columns of /proc/net/tcp."""
_LOOPBACK = "0100007F"


def caller(port: int, processes: Mapping[str, int]) -> str | None:
    """The name, among `processes` (process ids by name), of the one whose connection comes from this loopback port."""
    inode = _inode_of(port)
    if inode is None:
        return None
    return next((name for name, pid in processes.items() if _has_open(pid, f"socket:[{inode}]")), None)


def _inode_of(port: int) -> str | None:
    local = f"{_LOOPBACK}:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:])
    # A socket that nobody has open any more, as after a crash, has the inode 0.
    return next((row[_INODE] for row in rows if row[_LOCAL] == local and row[_INODE] != "0"), None)


def _has_open(pid: int, file: str) -> bool:
    with suppress(OSError):  # the process has just ended
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # the descriptor has just been closed
                if os.readlink(descriptor) == file:  # noqa: PTH115 - what it names is no path
                    return True
    return False
