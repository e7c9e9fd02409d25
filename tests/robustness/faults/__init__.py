"""What goes wrong, one kind at a time or several at once, drawn from a seed."""

from tests.robustness.faults.fault import ClientProcess, Fault, ImpossibleError, Process, Scene
from tests.robustness.faults.kinds import KINDS, bearable
from tests.robustness.faults.schedule import Injection, Schedule

__all__ = [
    "KINDS",
    "ClientProcess",
    "Fault",
    "ImpossibleError",
    "Injection",
    "Process",
    "Scene",
    "Schedule",
    "bearable",
]
