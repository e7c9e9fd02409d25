"""What happened, in words, for whoever has to find out why."""

import re
import traceback

from lockstream.v1 import session_pb2
from tests.simulation.processes import Process, Scheduler

Frame = session_pb2.SessionRequest | session_pb2.SessionResponse

_DETAILS = re.compile(r' details \{ type_url: "[^"]*" value: "(?:[^"\\]|\\.)*" \}')
"""What an error says to programs: bytes whose order is another in every process."""


class Trace:
    """Lines of a run, if anybody wants them; else nothing is spent on it."""

    def __init__(self, scheduler: Scheduler, *, wanted: bool) -> None:
        self.wanted = wanted
        self.lines: list[str] = []
        self._scheduler = scheduler

    def note(self, who: str, what: str) -> None:
        """Something happened. Where `what` is costly to make, ask `wanted` first."""
        if self.wanted:
            self.lines.append(f"{self._scheduler.now:12.6f} {self._scheduler.steps:8d} {who:14} {what}")

    def exception(self, error: BaseException) -> None:
        """An exception that nobody handled."""
        if self.wanted:
            self.lines += "".join(traceback.format_exception(error)).splitlines()

    def frame(self, source: Process, target: Process, frame: Frame) -> None:
        """A frame is sent."""
        if self.wanted:
            messages = frame.requests if isinstance(frame, session_pb2.SessionRequest) else frame.responses
            said = "; ".join(" ".join(str(message).split()) for message in messages)
            self.note(source.name, f"-> {target.name}: {_DETAILS.sub('', said)}")
