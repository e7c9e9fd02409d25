"""A crowd of sessions, seen from outside its process."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.robustness.cluster import Node
from tests.robustness.scale.process import Plan
from tests.robustness.scale.tally import Tally
from tests.support.processes import ChildProcess, ProcessEndedError
from tests.support.waiting import eventually

ATTACH_SECONDS = 60.0
"""In which all sessions attach, on a machine that is busy with something else as well."""


class Crowd(Node):
    """The process of a plan. Start it from the main thread (see `ChildProcess`).

    Args:
        plan: what it does.
        directory: where its output and its log go.
    """

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan = plan
        command = [sys.executable, "-m", "tests.robustness.scale", json.dumps(asdict(plan))]
        self._process = ChildProcess(
            command, log=directory / f"{plan.name}.log", output=directory / f"{plan.name}.jsonl"
        )
        super().__init__(plan.name, self._process)
        self._tallies: list[Tally] = []

    def tallies(self, since: float = 0.0) -> list[Tally]:
        """The tallies written after a moment of the monotonic clock.

        Raises ProcessEndedError when the process has ended by itself.
        """
        if not self.running:
            raise ProcessEndedError(f"{self!r} has ended\n{self._process.log_text()[-4_000:]}")
        unread = self._process.output_lines()[len(self._tallies) :]
        self._tallies += map(Tally.parse, unread)
        return [tally for tally in self._tallies if tally.at > since]

    def now(self) -> Tally:
        """The newest tally. Raises as `tallies` does."""
        tallies = self.tallies()
        return tallies[-1] if tallies else Tally()

    async def attached(self, times: int) -> Tally:
        """Wait until every session has attached so often since the start, and is attached.

        Raises TimeoutError, which tells how far they are; ProcessEndedError.
        """
        tally = Tally()

        async def all_attached() -> bool:
            nonlocal tally
            tally = self.now()
            return tally.attachments >= times * self.plan.sessions and tally.attached == self.plan.sessions

        try:
            await eventually(all_attached, "all sessions attached", timeout=ATTACH_SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {tally}") from None
        return tally
