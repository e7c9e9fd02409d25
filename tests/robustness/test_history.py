"""What is recorded can be read again, whatever ended the process that wrote it."""

import math
import sys
from pathlib import Path

import pytest

from tests.robustness.history import (
    KINDS,
    Believed,
    Changed,
    Completed,
    DamagedRecordError,
    Died,
    Disbelieved,
    End,
    Finished,
    Healed,
    HistoryBegan,
    Impossible,
    Injected,
    Invoked,
    Notebook,
    Observed,
    Opened,
    Outcome,
    Part,
    Proven,
    Record,
    Stalled,
    Stepped,
    Wrote,
    decode,
    encode,
    read_directory,
    read_file,
)
from tests.robustness.story import assemble
from tests.support.processes import ChildProcess

RECORDS: list[Record] = [
    Opened(1.0, "00000000000000aa", 10.0, 5.0),
    Invoked(1.5, 1, "acquire", "00000000000000aa", 7, (Part("a"), Part("p", "permits", 2, 3)), "owner", 0, None),
    Completed(2.0, 1, Outcome.OK, "", 12),
    Believed(2.0, 1, "00000000000000aa", 7, (Part("a"),), "owner", 12),
    Disbelieved(3.0, 1, End.LOST, "UNPROVEN"),
    Proven(2.5, 2.4, "00000000000000aa", 12.0),
    Stalled(4.0, 3.0),
    Stepped(4.5, -3600.0),
    Finished(5.0, ("<Task one>", "<Task two>")),
    Died(5.0, "client-1"),
    Wrote(2.2, True, "a", 12, "value", False),
    HistoryBegan(0.5, 3, "/lockstream/"),
    Changed(1.9, 12, "/lockstream/l/a/\xff", None, 12, 0),
    Injected(6.0, 1, "partition", "etcd-0"),
    Healed(7.0, 1),
    Impossible(7.5, "leader moved", "there is none"),
    Observed(2.1, 1, "hot/", 12, False, (("GRANTED", "hot/0", 12),)),
]


def test_there_is_a_case_for_every_kind() -> None:
    assert {type(record).__name__ for record in RECORDS} == KINDS.keys()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_reads_as_it_was_written(record: Record) -> None:
    assert decode(encode(record)) == record


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    with Notebook(tmp_path, "client-1") as notebook:
        notebook.write(*RECORDS)
    path = tmp_path / "client-1.jsonl"
    whole = path.read_bytes()
    for cut in range(1, len(encode(RECORDS[-1])) + 1):
        path.write_bytes(whole[:-cut])
        assert list(read_file(path)) == RECORDS[:-1]


def test_any_other_damage_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "client-1.jsonl"
    path.write_bytes(b'{"Healed":{"at":1.0}}\n{"Healed":{"at":1.0,"fault":1}}\n')
    with pytest.raises(DamagedRecordError, match=r"client-1.jsonl, line 1"):
        list(read_file(path))


def test_no_process_writes_into_the_file_of_another(tmp_path: Path) -> None:
    with Notebook(tmp_path, "client-1"), pytest.raises(FileExistsError):
        Notebook(tmp_path, "client-1")


WRITER = """
import sys
from pathlib import Path
from tests.robustness.history import Healed, Notebook
with Notebook(Path(sys.argv[1]), "writer") as notebook:
    for number in range(10**9):
        notebook.write(Healed(0.0, number))
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
"""


def test_a_killed_process_loses_no_line_that_it_had_written(tmp_path: Path) -> None:
    writer = ChildProcess(
        [sys.executable, "-c", WRITER, str(tmp_path)], log=tmp_path / "writer.log", output=tmp_path / "writer.out"
    )
    with writer:
        writer.wait_until(lambda: len(writer.output_lines()) > 100, timeout=20, what="the writer has written")
        writer.kill()
        told = len(writer.output_lines())
        [records] = read_directory(tmp_path).values()
    assert [record.fault for record in records if isinstance(record, Healed)] == list(range(len(records)))
    assert told <= len(records) <= told + 1


SESSION = "00000000000000aa"
BELIEF = Believed(10.0, 1, SESSION, 1, (Part("a"),), "owner", 5)


@pytest.mark.parametrize(
    ("records", "ended", "end"),
    [
        pytest.param([], math.inf, End.OPEN, id="by nothing"),
        pytest.param([Proven(9, 9, SESSION, 13)], 13, End.DEADLINE, id="by the deadline"),
        pytest.param([Proven(9, 9, SESSION, 13), Proven(12, 11, SESSION, 16)], 16, End.DEADLINE, id="by a later one"),
        pytest.param(
            [Proven(9, 9, SESSION, 13), Proven(14, 12, SESSION, 16)], 16, End.DEADLINE, id="by one that moved in time"
        ),
        pytest.param(
            [Proven(9, 9, SESSION, 13), Proven(15, 14, SESSION, 18)], 13, End.DEADLINE, id="though it moved afterwards"
        ),
        pytest.param(
            [Proven(9, 9, SESSION, 20), Proven(12, 11, SESSION, 15)], 15, End.DEADLINE, id="by one that moved closer"
        ),
        pytest.param(
            [Proven(9, 9, SESSION, 20), Proven(12, 11, SESSION, 10), Proven(13, 12, SESSION, 30)],
            12,
            End.DEADLINE,
            id="by one that moved to the past",
        ),
        pytest.param(
            [Proven(9, 9, SESSION, 13), Disbelieved(11, 1, End.RELEASED)], 11, End.RELEASED, id="by its release"
        ),
        pytest.param(
            [Proven(9, 9, SESSION, 13), Disbelieved(14, 1, End.LOST, "UNPROVEN")],
            13,
            End.DEADLINE,
            id="before a notice",
        ),
        pytest.param([Proven(9, 9, SESSION, 13), Died(12, "client")], 12, End.DIED, id="by death"),
        pytest.param([Proven(9, 9, "another", 11), Died(12, "another")], math.inf, End.OPEN, id="by nothing of others"),
    ],
)
def test_a_belief_ends_by_what_comes_first(records: list[Record], ended: float, end: End) -> None:
    [belief] = assemble({"client": [BELIEF, *records]}).beliefs
    assert (belief.ended, belief.end) == (ended, end)


def test_an_operation_without_an_answer_is_unknown() -> None:
    [operation] = assemble({"client": [Invoked(1.0, 1, "acquire")]}).operations
    assert (operation.completed, operation.outcome) == (math.inf, Outcome.UNKNOWN)
