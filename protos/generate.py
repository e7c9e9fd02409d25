"""Writes the Python stubs of the protos.

Run as `make generate`. With `--check` nothing is written: the program fails when the committed
stubs are not, byte for byte, what the protos and the pinned generator give.
"""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from google.rpc import status_pb2

PROTOS = Path(__file__).parent
ROOT = PROTOS.parent
GOOGLEAPIS = Path(status_pb2.__file__).parents[2]

LOCKSTREAM = Path("lockstream/v1")
V3LOCK = Path("tests/benchmarks/v3lock")
# Where protos are: the root of their import paths, their folder below it, and where the stubs'
# own import root is. Protos and stubs have the same folder below their roots.
PACKAGES = (
    (PROTOS, LOCKSTREAM, ROOT / "clients/python"),
    (ROOT, V3LOCK, ROOT),
)


def protoc(root: Path, folder: Path, *options: str) -> None:
    """Runs the pinned protoc over the protos in `folder`, which is below the import root `root`.

    Raises:
        SystemExit: protoc refused the protos; it has said why on standard error.
    """
    files = sorted(str(path.relative_to(root)) for path in (root / folder).glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"-I{GOOGLEAPIS}"]
    done = subprocess.run([*command, *options, *files], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def generate(root: Path, folder: Path) -> dict[str, bytes]:
    """Generates the stubs of the protos in `folder`: contents by file name."""
    scripts = sysconfig.get_path("scripts")
    with tempfile.TemporaryDirectory() as out:
        protoc(
            root,
            folder,
            f"--plugin=protoc-gen-mypy={scripts}/protoc-gen-mypy",
            f"--plugin=protoc-gen-mypy_grpc={scripts}/protoc-gen-mypy_grpc",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
        )
        return stubs(Path(out) / folder)


def stubs(folder: Path) -> dict[str, bytes]:
    """The stubs that stand in `folder`: contents by file name."""
    return {path.name: path.read_bytes() for path in folder.glob("*_pb2*.py*")}


def update(root: Path, folder: Path, out: Path, *, check: bool) -> list[Path]:
    """Brings the stubs of one package up to date, or with `check` only finds what would change.

    Returns:
        The files that differed from what the protos give, were missing, or had no proto.
    """
    fresh, present = generate(root, folder), stubs(out / folder)
    names = sorted(n for n in fresh.keys() | present.keys() if fresh.get(n) != present.get(n))
    for name in () if check else names:
        path = out / folder / name
        if name in fresh:
            path.write_bytes(fresh[name])
        else:
            path.unlink()
    return [folder / name for name in names]


def main() -> None:
    """Generates, or checks what was generated."""
    parser = argparse.ArgumentParser(description="Write the Python stubs of the protos.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args().check
    changed = [path for package in PACKAGES for path in update(*package, check=check)]
    for path in changed:
        print(f"{'out of date' if check else 'written'}: {path}")
    if check and changed:
        sys.exit("Run `make generate` and commit what it writes.")


if __name__ == "__main__":
    main()
