"""One run: a cluster, traffic on it, faults from a seed, and all checks on what was recorded.

`python -m tests.robustness.run --seconds 60 --seed 1 --directory run` prints figures, and every promise that was not
kept. Whatever was recorded stays in the folder of the run.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.robustness.cluster import Cluster, EtcdProgram, LockServer, newest_etcd
from tests.robustness.etcd_history import EtcdRecorder
from tests.robustness.faults import Scene, Schedule, bearable
from tests.robustness.faults.consumers import OUTBOX_EVENTS
from tests.robustness.history import ETCD, Notebook
from tests.robustness.remains import file_descriptors, read_etcd, tasks_left
from tests.robustness.report import Report, report
from tests.robustness.story import read
from tests.robustness.traffic.client import Plan
from tests.robustness.traffic.fleet import Fleet
from tests.robustness.validate import validate
from tests.robustness.validate.bounds import Bounds
from tests.robustness.validate.leftovers import Gauge, Remains, leftovers
from tests.robustness.validate.replay import replay
from tests.robustness.validate.violations import Violation
from tests.support.waiting import eventually

WARM_UP_SECONDS = 3.0
"""Traffic before the first fault."""
COOL_DOWN_SECONDS = 5.0
"""Traffic after the last: waits are to be seen to heal."""
LEAVING_SECONDS = 45.0
"""By then nothing is left of those who left without a word: a TTL, a lock delay, and etcd's time to notice."""
SPARE_FILE_DESCRIPTORS = 4
"""Of a server beyond those that it had when it was idle and new: it may be connected to more of etcd now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run is like."""

    directory: Path
    seed: int
    seconds: float
    """Of faults; the whole takes longer."""
    clients: int = 4
    """Processes, every other of which uses the library."""
    ttl: float = 4.0
    etcd: EtcdProgram | None = None
    """What the members run; None means the newest at hand."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    report: Report
    violations: Sequence[Violation]


def plans(settings: Settings, cluster: Cluster) -> list[Plan]:
    """The clients, each with a link of its own to every server."""
    rng = random.Random(settings.seed)
    return [
        Plan(
            name=f"{kind}-{number}",
            kind=kind,
            servers=[server.targets[number] for server in rng.sample(cluster.servers, len(cluster.servers))],
            seed=rng.getrandbits(30),
            ttl=settings.ttl,
            short_grace=0.1,
            die=0.1,
        )
        for number, kind in enumerate(("library", "stubs")[number % 2] for number in range(settings.clients))
    ]


async def run(settings: Settings) -> Result:
    """Run a cluster, break it, and check what was recorded.

    Raises:
        TimeoutError, ProcessEndedError: the cluster did not recover, or could not be started.
        TrafficError: a client met something that no client may meet.
        HistoryLostError: etcd's history could not be recorded as a whole.
    """
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            Cluster(
                etcd=settings.etcd,
                client_links=settings.clients,
                directory=settings.directory / "cluster",
                server_args=[f"--outbox-events={OUTBOX_EVENTS}"],
            )
        )
        endpoints = [member.endpoint for member in cluster.members]
        recorder = await stack.enter_async_context(
            EtcdRecorder(endpoints, stack.enter_context(Notebook(settings.directory, ETCD)))
        )
        idle = {server.name: file_descriptors(server.process.pid) for server in cluster.servers}
        faults = stack.enter_context(Notebook(settings.directory, "faults"))
        fleet = await stack.enter_async_context(Fleet(settings.directory, plans(settings, cluster)))
        await asyncio.sleep(WARM_UP_SECONDS)
        families = bearable(cluster.etcd.version)
        schedule = Schedule(Scene(cluster, fleet.clients), seed=settings.seed, notebook=faults, families=families)
        await schedule.run(settings.seconds)
        await asyncio.sleep(COOL_DOWN_SECONDS)
        await fleet.stop()
        remains = await _remains(endpoints[0], cluster, idle)
        await recorder.catch_up()
        for server in cluster.servers:
            await server.terminate()
        defects = [defect for server in cluster.servers for defect in _defects(server)]
    # Everybody has recorded everything: from here on nothing is waited for.
    story = read(settings.directory)
    tasks = {client: finished.tasks for client, finished in story.finished.items()}
    tasks |= {server.name: tuple(tasks_left(server.server) or ()) for server in cluster.servers}
    replayed = replay(story)
    violations = [*validate(story, Bounds(), replace(remains, tasks=tasks), replayed), *defects]
    result = Result(report(story, violations, replayed, etcd=str(cluster.etcd)), violations)
    result.report.write(settings.directory)
    (settings.directory / "violations.txt").write_text("".join(f"{violation}\n" for violation in violations))
    return result


def _defects(server: LockServer) -> Iterator[Violation]:
    """What a server logged that no fault may bring about: exceptions that nobody handled, an end without a word."""
    if tasks_left(server.server) is None:
        yield Violation("servers", server.name, "it was told to stop, and never said that it had")
    for line in server.server.log_text().splitlines():
        if "Traceback (most recent call last)" in line:
            yield Violation("servers", server.name, f"an exception that nobody handled: {line}")


async def _remains(endpoint: str, cluster: Cluster, idle: Mapping[str, int]) -> Remains:
    """What is left when all that leaves by itself has had its time."""
    found = Remains()

    async def nothing() -> bool:
        nonlocal found
        gauges = [
            Gauge(
                process=server.name,
                what="file descriptors",
                before=idle[server.name] + SPARE_FILE_DESCRIPTORS,
                after=file_descriptors(server.process.pid),
            )
            for server in cluster.servers
        ]
        found = replace(await read_etcd(endpoint), gauges=gauges)
        return not list(leftovers(found))

    with suppress(TimeoutError):  # the check tells what
        await eventually(nothing, "nothing left", timeout=LEAVING_SECONDS)
    return found


def main() -> None:
    """Run from the command line; the exit code is 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(description="Break a cluster under traffic, and check what its clients were told.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long there are faults")
    parser.add_argument("--seed", type=int, default=1, help="what faults and traffic are drawn from")
    parser.add_argument("--clients", type=int, default=4, help="how many client processes")
    parser.add_argument("--ttl", type=float, default=4.0, help="of the sessions, in seconds")
    parser.add_argument(
        "--etcd", type=newest_etcd, metavar="RELEASE", help="which etcd, such as 3.5; the newest at hand if not stated"
    )
    parser.add_argument("--directory", type=Path, required=True, help="a new folder for everything that is recorded")
    options = parser.parse_args()
    options.directory.mkdir(parents=True)
    result = asyncio.run(run(Settings(**vars(options))))
    sys.stdout.write(result.report.table())
    for violation in result.violations:
        sys.stdout.write(f"{violation}\n")
    sys.exit(bool(result.violations))


if __name__ == "__main__":
    main()
