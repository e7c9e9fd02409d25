"""Holds the protos against `buf.yaml`: their style, and what they would break for their users.

What users have is what the main branch has. buf would fetch the protos of googleapis from a
registry; the installed package has them, so protoc builds the images that buf reads.
"""

import io
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from protos.generate import LOCKSTREAM, PROTOS, ROOT, protoc

MAIN = ("origin/main", "main")


def in_git(name: str) -> bool:
    """Whether git knows an object of this name; it knows none outside a checkout."""
    command = ["git", "-C", str(ROOT), "cat-file", "-e", name]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def buf(*arguments: str | Path) -> bool:
    """Runs buf under the rules of `buf.yaml`: whether it found nothing to say."""
    program = Path(sysconfig.get_path("scripts"), "buf")
    command = [program, *arguments, "--config", PROTOS / "buf.yaml"]
    return subprocess.run(command, check=False).returncode == 0


def image(root: Path, out: Path) -> Path:
    """Builds the descriptor image of the protos below `root`, with their comments."""
    protoc(
        root,
        LOCKSTREAM,
        f"--descriptor_set_out={out}",
        "--include_imports",
        "--include_source_info",
    )
    return out


def earlier_protos(folder: Path) -> Path | None:
    """Unpacks the main branch's protos into `folder`; says so and returns None if it has none."""
    branch = next((name for name in MAIN if in_git(name)), None)
    if branch is None or not in_git(f"{branch}:protos/lockstream"):
        print("buf breaking: there is no main branch with protos to compare with")
        return None
    command = ["git", "-C", str(ROOT), "archive", "--format=zip", branch, "protos/lockstream"]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
    return folder / "protos"


def main() -> None:
    """Runs both checks and fails if either has something to say."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        new = image(PROTOS, folder / "new.binpb")
        good = buf("lint", new)
        if earlier := earlier_protos(folder / "earlier"):
            old = image(earlier, folder / "old.binpb")
            good = buf("breaking", new, "--against", old) and good
    sys.exit(not good)


if __name__ == "__main__":
    main()
