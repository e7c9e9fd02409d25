"""Which releases of etcd there are to run on: the one of the package, one on PATH, one built by `make etcd`."""

from dataclasses import dataclass
from pathlib import Path

from lockstream_server.etcd_program import etcd_version, find_etcd
from tests.support.etcd import etcd_program

_BUILD = Path(__file__).parents[3] / "build"


@dataclass(frozen=True, slots=True)
class EtcdProgram:
    """An `etcd` that can be run."""

    path: Path
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"etcd {'.'.join(map(str, self.version))}"


def all_etcds() -> list[EtcdProgram]:
    """One program of each version at hand, the oldest first."""
    paths = [Path(etcd_program("etcd")), find_etcd(), *sorted(_BUILD.glob("etcd-*/etcd"))]
    programs = {version: EtcdProgram(path, version) for path in dict.fromkeys(paths) if (version := etcd_version(path))}
    return [programs[version] for version in sorted(programs)]


def newest_etcd(release: str = "") -> EtcdProgram:
    """The newest program at hand, or the newest of a release such as `3.5`. Raises ValueError when there is none."""
    wanted = tuple(map(int, release.split("."))) if release else ()
    programs = [program for program in all_etcds() if program.version[: len(wanted)] == wanted]
    if not programs:
        raise ValueError(f"there is no etcd {release} at hand, only {', '.join(map(str, all_etcds()))}")
    return programs[-1]
