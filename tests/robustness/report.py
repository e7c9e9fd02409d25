"""The figures of a run, for people and for machines."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from tests.robustness.story import Story
from tests.robustness.validate.healing import healings, percentile
from tests.robustness.validate.registers import goings_back
from tests.robustness.validate.replay import Replay, replay
from tests.robustness.validate.violations import Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened, in figures. Durations are in seconds."""

    etcd: str
    """Its version; empty when nobody said."""
    duration: float
    operations: Mapping[str, Mapping[str, int]]
    """By kind and outcome; a failure with its reason."""
    grants: int
    """In etcd's history."""
    beliefs: int
    ended_by: Mapping[str, int]
    """Beliefs by what ended them."""
    sessions: int
    """In etcd's history."""
    revisions: int
    faults: Mapping[str, int]
    """By kind."""
    impossible: Mapping[str, int]
    """Faults that were due and could not be injected as things were, by kind."""
    clock_steps: int
    """As clients saw them on their wall clocks."""
    deaths: int
    """Client processes that were killed or left without a word."""
    finished: int
    """Client processes that closed everything and were found to leave no task."""
    stalls: int
    waits_healed: int
    """Acquires that were under way when a fault was over, and were granted after it."""
    granted_after_healing_p50: float | None
    granted_after_healing_p99: float | None
    fenced_writes: int
    fenced_refused: int
    unfenced_back: int
    """Writes of an older holder that the unfenced register took after those of a newer one."""
    watched_revisions: int
    violations: Mapping[str, int]
    """By check."""

    def json(self) -> bytes:
        """For machines."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def table(self) -> str:
        """For people."""
        lines = [f"{what:<28} {_shown(value)}" for what, value in asdict(self).items() if not isinstance(value, dict)]
        for title, counts in (
            (f"faults ({sum(self.faults.values())})", self.faults),
            ("impossible", self.impossible),
            ("ended by", self.ended_by),
            ("violations", self.violations),
        ):
            lines += ["", title, *(f"  {name:<34} {count:>8,}" for name, count in sorted(counts.items()))]
        lines += ["", f"{'operations':<22}{'ok':>8}{'failed':>9}{'unknown':>9}  reasons"]
        for kind, outcomes in sorted(self.operations.items()):
            sums = Counter[str]()
            for outcome, number in outcomes.items():
                sums[outcome.partition(" ")[0]] += number
            reasons = ", ".join(
                f"{outcome.partition(' ')[2]} {number}"
                for outcome, number in sorted(outcomes.items())
                if " " in outcome
            )
            lines.append(f"  {kind:<20}{sums['ok']:>8,}{sums['failed']:>9,}{sums['unknown']:>9,}  {reasons}")
        return "\n".join(lines) + "\n"

    def write(self, directory: Path) -> None:
        """Put both into a folder, as report.json and report.txt."""
        (directory / "report.json").write_bytes(self.json())
        (directory / "report.txt").write_text(self.table())


def _shown(value: object) -> str:
    if value is None or isinstance(value, str):
        return f"{value or '-':>8}"
    return f"{value:>12.3f}" if isinstance(value, float) else f"{value:>8,}"


def report(story: Story, violations: Sequence[Violation], replayed: Replay | None = None, *, etcd: str = "") -> Report:
    """The figures of a run and of what its checks found."""
    replayed = replayed if replayed is not None else replay(story)
    operations: dict[str, Counter[str]] = {}
    for operation in story.operations:
        outcome = f"{operation.outcome.value} {operation.reason}".strip()
        operations.setdefault(operation.kind, Counter())[outcome] += 1
    healed = sorted(healings(story, replayed))
    fenced = [write for write in story.writes if write.fenced]
    unfenced = [write for write in story.writes if not write.fenced]
    sessions = f"{story.began.prefix}s/"
    return Report(
        etcd=etcd,
        duration=_duration(story),
        operations={kind: dict(outcomes) for kind, outcomes in operations.items()},
        grants=sum(bool(tenure.session) for tenure in replayed.tenures.values()),
        beliefs=len(story.beliefs),
        ended_by=_count(f"{belief.end.value} {belief.reason}".strip() for belief in story.beliefs),
        sessions=sum(change.version == 1 and change.key.startswith(sessions) for change in story.changes),
        revisions=len({change.revision for change in story.changes}),
        faults=_count(fault.kind for fault in story.faults),
        impossible=_count(fault.kind for fault in story.impossible),
        clock_steps=len(story.clock_steps),
        deaths=len(story.deaths),
        finished=sum(not finished.tasks for finished in story.finished.values()),
        stalls=sum(map(len, story.stalls.values())),
        waits_healed=len(healed),
        granted_after_healing_p50=percentile(healed, 0.50),
        granted_after_healing_p99=percentile(healed, 0.99),
        fenced_writes=sum(write.accepted for write in fenced),
        fenced_refused=sum(not write.accepted for write in fenced),
        unfenced_back=sum(1 for _ in goings_back(unfenced)),
        watched_revisions=sum(map(len, story.observations.values())),
        violations=_count(violation.check for violation in violations),
    )


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))


def _duration(story: Story) -> float:
    moments = [operation.invoked for operation in story.operations]
    return max(moments) - min(moments) if moments else 0.0
