"""What is measured: which benches, of which systems, at which concurrency, for how long."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LOCKSTREAM = "lockstream"
LOCKSTREAM_SHARED = "lockstream-shared"
V3LOCK = "etcd-v3lock"
TXN = "etcd-txn"
SYSTEMS = (LOCKSTREAM, LOCKSTREAM_SHARED, V3LOCK, TXN)


@dataclass(frozen=True)
class Point:
    """One figure to find: a bench of a system at a client concurrency."""

    bench: str
    system: str
    concurrency: int

    def __str__(self) -> str:
        return f"{self.bench} {self.system} x{self.concurrency}"


@dataclass(frozen=True)
class Pace:
    """How thoroughly: rounds over all points, the seconds of one measurement, and how many holders it kills."""

    rounds: int
    warm_up: float
    seconds: float
    kills: int


FULL = Pace(rounds=3, warm_up=0.5, seconds=2.0, kills=5)
QUICK = Pace(rounds=1, warm_up=0.3, seconds=1.0, kills=3)

# Several locks at once, permits and readers are no part of the other systems. Waiting in a queue is no part of
# `etcd-txn`, and handing over is from session to session. What a killed client, a search for a deadlock and an idle
# session cost is asked of Lockstream alone.
BENCHES: dict[str, tuple[Sequence[str], Sequence[int]]] = {
    "pairs": (SYSTEMS, (1, 16, 64, 256)),
    "pairs_ten_names": ((LOCKSTREAM, LOCKSTREAM_SHARED), (16, 64)),
    "pairs_permits": ((LOCKSTREAM, LOCKSTREAM_SHARED), (64,)),
    "pairs_readers": ((LOCKSTREAM, LOCKSTREAM_SHARED), (64,)),
    "handoff_drain": ((LOCKSTREAM, V3LOCK), (8, 64)),
    "handoff_steady": ((LOCKSTREAM, V3LOCK), (8, 64)),
    "kill_to_grant": ((LOCKSTREAM,), (1,)),
    "deadlock_none": ((LOCKSTREAM,), (1000,)),
    "deadlock_chain": ((LOCKSTREAM,), (1000,)),
    "idle_session": ((LOCKSTREAM,), (1000,)),
    "idle_connection": ((LOCKSTREAM,), (1000,)),
}


def points(systems: Sequence[str], benches: Sequence[str]) -> Iterator[Point]:
    """The points of one round: at each bench and concurrency, the systems in turn."""
    for bench in benches:
        its_systems, concurrencies = BENCHES[bench]
        for concurrency in concurrencies:
            for system in its_systems:
                if system in systems:
                    yield Point(bench, system, concurrency)
