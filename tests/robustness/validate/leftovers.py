"""After the run nothing is left over: no key, no lease, no session, no task, no file descriptor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lockstream_server.sessions.record_leases import LEASE_SECONDS
from tests.robustness.validate.violations import Violation

CHECK = "leftovers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """Something of a process that may not have grown over the run."""

    process: str
    what: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What there is when all clients have gone and all that a crash leaves has had its time."""

    keys: Mapping[str, int] = field(default_factory=dict)
    """Every key under the prefix with its lease, or 0."""
    leases: Mapping[int, int] = field(default_factory=dict)
    """Every lease with the TTL that it was granted for, in seconds."""
    gauges: Sequence[Gauge] = ()
    tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The asyncio tasks that a process had when it had closed everything and was about to end, by process."""


def leftovers(remains: Remains, prefix: str = "/lockstream/") -> Iterator[Violation]:
    """One violation for each thing left over.

    The records of evictions stay for an hour, with their leases. Such a lease may be without any record, if what was to
    be evicted went by itself. The fence is one key for good: it is written when somebody reads the history.
    """
    records = f"{prefix}e/"
    fence = f"{prefix}fence"
    kept = {lease for key, lease in remains.keys.items() if key.startswith(records)}
    for key, lease in remains.keys.items():
        if key == fence:
            continue
        if not key.startswith(records):
            yield Violation(CHECK, key, f"the key is left, under lease {lease:016x}")
        elif not lease:
            yield Violation(CHECK, key, "the record of an eviction will never be forgotten: it has no lease")
    for lease, ttl in remains.leases.items():
        if lease not in kept and ttl != LEASE_SECONDS:
            yield Violation(CHECK, f"{lease:016x}", f"the lease is left, granted for {ttl} s")
    for process, tasks in remains.tasks.items():
        for task in tasks:
            yield Violation(CHECK, process, f"a task is left: {task}")
    for gauge in remains.gauges:
        if gauge.after > gauge.before:
            yield Violation(CHECK, gauge.process, f"{gauge.after} {gauge.what}, where there were {gauge.before}")
