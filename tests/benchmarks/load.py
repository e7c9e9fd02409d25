"""The load generator: one measurement of one system, in a process of its own.

Prints the figure as one JSON object on standard output.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping

import uvloop

from tests.benchmarks.crash import kill_to_grant
from tests.benchmarks.drivers import connect
from tests.benchmarks.figures import Figure
from tests.benchmarks.queues import EtcdQueues
from tests.benchmarks.workloads import Load, fresh_name, handoff_drain, handoff_steady, pairs


async def measure(
    bench: str, system: str, target: str, etcd: str, load: Load, *, kills: int, processes: Mapping[str, int]
) -> Figure:
    """Put the server at `target`, whose store is the etcd at `etcd`, through one bench.

    Args:
        bench: its name.
        system: which of them is at `target`.
        target: `host:port` of the lock service.
        etcd: `host:port` of the etcd behind it.
        load: how much load, where the bench is one of load.
        kills: how many holders are killed, where the bench does that.
        processes: whose processor time is of interest: process ids by name.

    Raises:
        ValueError: there is no such bench or system.
    """
    async with connect(system, target, bench) as driver, EtcdQueues.at(etcd) as queues:
        match bench:
            case "pairs" | "pairs_ten_names":
                return await pairs(driver, load, processes)
            case "pairs_permits" | "pairs_readers":
                return await pairs(driver, load, processes, name=fresh_name())
            case "handoff_drain":
                return await handoff_drain(driver, load, queues)
            case "handoff_steady":
                return await handoff_steady(driver, load)
            case "kill_to_grant":
                return await kill_to_grant(driver, queues, system, target, kills)
            case _:
                raise ValueError(f"unknown bench {bench}")


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--system", required=True)
    parser.add_argument("--target", required=True, help="host:port of the lock service")
    parser.add_argument("--etcd", required=True, help="host:port of the etcd behind it")
    parser.add_argument("--concurrency", type=int, required=True, help="workers or waiters")
    parser.add_argument("--warm-up", type=float, required=True, help="seconds that do not count")
    parser.add_argument("--seconds", type=float, required=True, help="seconds that count")
    parser.add_argument("--kills", type=int, required=True, help="how many holders to kill, where the bench does that")
    parser.add_argument("--process", action="append", default=[], help="NAME=PID whose processor time to measure")
    args = parser.parse_args()
    load = Load(args.concurrency, args.warm_up, args.seconds)
    processes = {"client": os.getpid()}
    for named in args.process:
        name, _, pid = named.partition("=")
        processes[name] = int(pid)
    figure = uvloop.run(
        measure(args.bench, args.system, args.target, args.etcd, load, kills=args.kills, processes=processes)
    )
    print(json.dumps(dataclasses.asdict(figure)))


if __name__ == "__main__":
    main()
