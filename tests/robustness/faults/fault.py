"""What a fault is."""

import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from tests.robustness.cluster import Cluster


class Process(Protocol):
    """A process that can be harmed. Every step may be repeated, and may meet any state: faults overlap."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    async def start(self) -> None:
        """Start it unless it runs."""

    async def kill(self) -> None:
        """SIGKILL it."""

    async def freeze(self) -> None:
        """SIGSTOP it."""

    async def thaw(self) -> None:
        """SIGCONT it."""


class ClientProcess(Process, Protocol):
    """A process of a client."""

    def step_clock(self, seconds: float) -> None:
        """Set its wall clock on by so many seconds, or back if that is negative."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that faults happen to."""

    cluster: Cluster
    clients: Sequence[ClientProcess] = ()
    """Processes of clients; whatever would hit one is impossible without."""


class Fault(Protocol):
    """A kind of fault: entered, it is injected; left, it is healed, though nobody has recovered from it yet.

    Whom it hits is drawn from `rng` alone, and by role where the kind names one: the same seed hits the same victims.
    Faults overlap, so entering tolerates whatever state others have brought about, or raises `ImpossibleError`.
    """

    def __call__(self, scene: Scene, rng: random.Random) -> AbstractAsyncContextManager[str]:
        """The fault, to enter; its value names the victim."""


class ImpossibleError(Exception):
    """The fault cannot be injected as things are, for instance because there is no leader to move."""
