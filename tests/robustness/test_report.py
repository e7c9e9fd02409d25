"""The figures of a run."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.robustness.good_story import STORY
from tests.robustness.history import Finished, Impossible, Outcome, Stepped
from tests.robustness.report import report
from tests.robustness.story import Fault, Operation, Story
from tests.robustness.tampering import taken_late
from tests.robustness.validate import validate
from tests.robustness.validate.healing import healings, percentile
from tests.robustness.validate.replay import Replay


def acquire(invoked: float, completed: float, outcome: Outcome = Outcome.OK) -> Operation:
    """An acquire that waited."""
    return Operation("ann", 1, "acquire", "", (), "", None, invoked, completed, outcome)


@pytest.mark.parametrize(
    ("operation", "faults", "expected"),
    [
        pytest.param(acquire(1, 9), [Fault("cut", "a", 2, 5)], [4], id="granted after a fault"),
        pytest.param(
            acquire(1, 9), [Fault("cut", "a", 2, 5), Fault("cut", "b", 3, 7)], [2], id="after the last of two"
        ),
        pytest.param(acquire(1, 9), [Fault("cut", "a", 2, 5), Fault("cut", "b", 6, 12)], [], id="another came between"),
        pytest.param(acquire(6, 9), [Fault("cut", "a", 2, 5)], [], id="asked for afterwards"),
        pytest.param(acquire(1, 4), [Fault("cut", "a", 2, 5)], [], id="granted before"),
        pytest.param(acquire(1, 9, Outcome.FAILED), [Fault("cut", "a", 2, 5)], [], id="not granted"),
        pytest.param(acquire(1, 9), [Fault("cut", "a", 2, math.inf)], [], id="never healed"),
    ],
)
def test_a_healed_wait_counts_from_the_end_of_the_fault(
    operation: Operation, faults: list[Fault], expected: list[float]
) -> None:
    assert list(healings(Story(operations=[operation], faults=faults), Replay())) == expected


def test_percentiles() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([float(number) for number in range(1, 101)], 0.5) == 50
    assert percentile([float(number) for number in range(1, 101)], 0.99) == 99


def test_a_run_in_figures(tmp_path: Path) -> None:
    story = replace(
        taken_late(STORY),
        faults=[Fault("kill", "etcd-0", 100, 110), Fault("kill", "etcd-1", 100, 110)],
        impossible=[Impossible(105, "leader moved", "there is none")],
        clock_steps=[Stepped(105, -3600)],
        finished={"ann": Finished(200, ()), "bob": Finished(200, ("<Task>",))},
    )
    figures = report(story, validate(story), etcd="etcd 3.6.0")
    assert figures.faults == {"kill": 2}
    assert figures.violations == {"registers": 1}
    assert figures.sessions == 3
    assert figures.impossible == {"leader moved": 1}
    assert (figures.clock_steps, figures.finished) == (1, 1)
    assert figures.operations["acquire"]["ok"] > 10
    assert figures.operations["upgrade"] == {"ok": 1}
    assert figures.ended_by["lost FORCE_RELEASED"] == 1
    assert (figures.fenced_writes, figures.fenced_refused, figures.unfenced_back) == (3, 0, 0)
    figures.write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["faults"] == {"kill": 2}
    table = (tmp_path / "report.txt").read_text()
    for line in ("etcd 3.6.0", "leader moved", "kill", "registers", "acquire_all", "lost FORCE_RELEASED"):
        assert line in table
