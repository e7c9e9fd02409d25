"""The checks on histories are checked themselves: what is right passes, and what was tampered with is caught."""

import math
from dataclasses import replace

import pytest

from lockstream_server.core import rules
from lockstream_server.core.model import Mode
from lockstream_server.sessions.record_leases import LEASE_SECONDS
from tests.robustness.good_story import STORY, Tamper, asked, beliefs, with_belief, with_operation
from tests.robustness.history import ETCD, End, Opened, Outcome, Part, Stalled
from tests.robustness.model import TTL
from tests.robustness.story import Belief, Fault, Operation, Story
from tests.robustness.tampering import PLANTS, failed_and_holds, granted_late_after_healing, never_answered
from tests.robustness.validate import validate
from tests.robustness.validate.bounds import Bounds
from tests.robustness.validate.endings import endings
from tests.robustness.validate.healing import healings
from tests.robustness.validate.leftovers import Gauge, Remains, leftovers
from tests.robustness.validate.replay import Replay, replay
from tests.robustness.validate.waits import waits


def test_a_right_history_passes() -> None:
    assert validate(STORY) == []


def test_the_right_history_has_something_for_every_check() -> None:
    tenures = replay(STORY).tenures.values()
    assert {belief.end for belief in STORY.beliefs} == {End.RELEASED, End.LOST, End.DEADLINE, End.DIED}
    assert {belief.mode for belief in STORY.beliefs} == {"exclusive", "shared", "permits"}
    assert {tenure.mode for tenure in tenures} == set(Mode)
    assert any(tenure.evicted is not None for tenure in tenures)
    assert any(belief.stands_on for belief in STORY.beliefs)
    assert len(STORY.writes) == 4
    assert sum(len(observed) for observed in STORY.observations.values()) > 20


@pytest.mark.parametrize(
    ("check", "tamper"),
    [
        pytest.param(check, tamper, id=f"{check}: {what}")
        for check, plants in PLANTS.items()
        for what, tamper in plants.items()
    ],
)
def test_what_was_tampered_with_is_caught(check: str, tamper: Tamper) -> None:
    violations = [violation for violation in validate(tamper(STORY)) if violation.check == check]
    assert violations
    assert all(violation.subject in str(violation) and len(str(violation)) > 40 for violation in violations)


def test_a_fold_that_breaks_the_rules_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that overtake: the code's own reading of the history is held against the plain one."""
    monkeypatch.setitem(rules.RULES, Mode.EXCLUSIVE, lambda _holders, _candidate: True)
    assert "commit order" in {violation.check for violation in validate(STORY)}


def thawed(story: Story, *, after: float) -> Story:
    """Who was evicted is thawed so long after the next began: it reads of its grant, then of its eviction."""
    evicted, next_in_line = beliefs(story, "evicted")
    begun = next_in_line.begun + after
    read = with_belief(story, evicted, begun=begun, ended=begun + 0.1)
    return replace(read, stalls={"ann": [Stalled(begun, evicted.begun)]})


@pytest.mark.parametrize(
    ("tamper", "bounds"),
    [
        pytest.param(
            lambda story: with_belief(
                story, beliefs(story, "evicted")[0], ended=beliefs(story, "evicted")[0].ended + 1.0
            ),
            Bounds(),
            id="a notice of an eviction that took a second",
        ),
        pytest.param(
            lambda story: replace(
                with_belief(story, beliefs(story, "evicted")[0], ended=beliefs(story, "evicted")[0].ended + TTL),
                stalls={"ann": [Stalled(math.inf, 0.0)]},
            ),
            Bounds(),
            id="a notice to a process that stood still",
        ),
        pytest.param(lambda story: thawed(story, after=0.2), Bounds(), id="a grant that was read after the eviction"),
        pytest.param(
            lambda story: thawed(
                with_belief(story, beliefs(story, "evicted")[1], ended=beliefs(story, "evicted")[1].begun + 0.1),
                after=0.2,
            ),
            Bounds(),
            id="a grant that was read after the eviction, and after the next had gone",
        ),
        pytest.param(
            lambda story: with_belief(story, beliefs(story, "turns")[0], end=End.LOST, reason="REMOVED_EXTERNALLY"),
            Bounds(external=True),
            id="a key that somebody deleted",
        ),
        pytest.param(
            lambda story: replace(never_answered(story), deaths={**story.deaths, "ann": math.inf}),
            Bounds(),
            id="an operation of a client that was killed",
        ),
        pytest.param(
            lambda story: replace(
                with_operation(story, asked(story, "turns"), completed=asked(story, "turns").invoked + 110),
                faults=[Fault("partition", "etcd-0", 0.0, asked(story, "turns").invoked + 100)],
            ),
            Bounds(),
            id="an answer that a fault kept back",
        ),
        pytest.param(
            lambda story: replace(granted_late_after_healing(story), deaths={}, faults=[]),
            Bounds(),
            id="a long wait that no fault had to do with",
        ),
        pytest.param(
            lambda story: replace(failed_and_holds(story), stalls={ETCD: [Stalled(math.inf, 0.0)]}),
            Bounds(),
            id="an end that was seen late",
        ),
        pytest.param(
            lambda story: replace(
                story, writes=[*story.writes, replace(story.writes[0], accepted=False, at=story.writes[-1].at)]
            ),
            Bounds(),
            id="a late write that is refused",
        ),
        pytest.param(
            lambda story: replace(story, writes=[*story.writes, story.writes[1]]),
            Bounds(),
            id="a late write to the register that is not fenced",
        ),
    ],
)
def test_what_the_guarantees_allow_is_no_violation(tamper: Tamper, bounds: Bounds) -> None:
    tampered = tamper(STORY)
    assert tampered != STORY
    assert validate(tampered, bounds) == []


@pytest.mark.parametrize(("late", "found"), [(1, 0), (2, 1)])
def test_one_grant_in_a_hundred_may_be_late_after_healing(late: int, found: int) -> None:
    """Late is more than a TTL and two seconds; nobody waits for so long that it counts as not being answered."""
    fault = Fault("partition", "etcd-0", 10.0, 20.0)
    seconds = [TTL + 2.5] * late + [TTL + 1.9] * (100 - late)
    operations = [
        Operation("ann", number, "acquire", "a", (), "", None, 15.0, fault.until + after, Outcome.OK)
        for number, after in enumerate(seconds)
    ]
    story = Story(operations=operations, faults=[fault], sessions={"a": Opened(0.0, "a", TTL, TTL)})
    violations = list(waits(story, Replay(), Bounds()))
    assert [violation.subject for violation in violations] == ["grants after healing"] * found


def test_a_wait_for_a_lock_delay_is_none_for_healing() -> None:
    [tenure] = [tenure for tenure in replay(STORY).tenures.values() if tenure.name == "delayed" and tenure.lock_delay]
    assert tenure.orphaned_seen is not None
    assert tenure.removed_seen is not None
    fault = Fault("partition", "etcd-0", tenure.orphaned_seen - 2, tenure.orphaned_seen - 1)
    parts, since, until = (Part("delayed"),), fault.since, tenure.removed_seen + 0.1
    waited = Operation("bob", 1, "acquire", "a", parts, "", None, since, until, Outcome.OK)
    elsewhere = replace(waited, parts=(Part("other"),))
    story = Story(operations=[waited, elsewhere], faults=[fault])
    assert list(healings(story, replay(STORY))) == [until - fault.until]


@pytest.mark.parametrize("closes", [True, False])
def test_a_session_that_is_closed_has_no_lock_delay(closes: bool) -> None:
    """What it released just before may go with it, at once. Of one that was lost it would have gone too soon."""
    [held] = [tenure for tenure in replay(STORY).tenures.values() if tenure.name == "delayed" and tenure.lock_delay]
    assert held.orphaned_seen is not None
    begun, ended = held.granted_seen, held.orphaned_seen - 0.1
    held = replace(held, removed_seen=held.orphaned_seen + 0.1)
    belief = Belief("ann", 1, held.session, "", Part("delayed"), held.token, begun, ended, End.RELEASED)
    close = Operation("ann", 2, "close", held.session, (), "", None, ended, ended + 0.1, Outcome.OK)
    story = Story(beliefs=[belief], operations=[close] if closes else [])
    found = list(endings(story, Replay(tenures={("delayed", held.token): held}), Bounds()))
    assert len(found) == (0 if closes else 1)


@pytest.mark.parametrize(
    "remains",
    [
        pytest.param(Remains(tasks={"server": ["<Task renewals>"], "client": []}), id="a task of a server that ended"),
        pytest.param(Remains(keys={"/lockstream/l/a/1.0": 7}), id="an entry"),
        pytest.param(Remains(keys={"/lockstream/s/0000000000000007": 7}), id="a session"),
        pytest.param(Remains(keys={"/lockstream/e/7": 0}), id="the record of an eviction, for ever"),
        pytest.param(Remains(keys={"/lockstream/e/7": 8}, leases={8: LEASE_SECONDS, 9: 3600}), id="a lease"),
        pytest.param(Remains(leases={9: 10}), id="a session's lease"),
        pytest.param(Remains(gauges=[Gauge(process="server", what="tasks", before=3, after=4)]), id="a task"),
    ],
)
def test_what_is_left_over_is_found(remains: Remains) -> None:
    assert len({violation.subject for violation in leftovers(remains)}) == 1


def test_the_lease_of_a_record_that_was_not_written_is_not_left_over() -> None:
    assert list(leftovers(Remains(leases={9: LEASE_SECONDS}))) == []


def test_records_of_evictions_and_what_was_there_before_are_not_left_over() -> None:
    gauge = Gauge(process="server", what="file descriptors", before=20, after=19)
    assert list(leftovers(Remains(keys={"/lockstream/e/7": 8}, leases={8: LEASE_SECONDS}, gauges=[gauge]))) == []
