"""Histories with one thing wrong in each: what every check has to catch, by check and by what is wrong."""

import math
from collections.abc import Callable
from dataclasses import replace

from tests.robustness.good_story import Tamper, asked, beliefs, with_belief, with_observed, with_operation
from tests.robustness.history import Changed, End, Observed, Outcome, Part, Wrote
from tests.robustness.model import TTL
from tests.robustness.story import Fault, Operation, Story
from tests.robustness.validate.reads import NOT_HELD


def overtaken(name: str, place: int = 0) -> Tamper:
    """The holder believes until after the next began."""

    def tamper(story: Story) -> Story:
        held = beliefs(story, name)
        return with_belief(story, held[place], ended=held[place + 1].begun + 0.5)

    return tamper


def eviction_not_noticed(story: Story) -> Story:
    return with_belief(story, beliefs(story, "evicted")[0], ended=math.inf, end=End.OPEN)


def next_begins_early(story: Story) -> Story:
    held = beliefs(story, "turns")
    return with_belief(story, held[1], begun=held[0].begun + 0.1)


def evicted_beside_another(story: Story) -> Story:
    evicted, next_in_line = beliefs(story, "evicted")
    soon = with_belief(story, evicted, begun=evicted.ended - 0.5)
    return with_belief(soon, next_in_line, begun=evicted.ended - 0.6)


EXCLUSION: dict[str, Tamper] = {
    "two exclusive holders": overtaken("turns"),
    "the next is told too early": next_begins_early,
    "a reader beside a writer": overtaken("book", 1),
    "a reader beside an upgrade that is another's": lambda story: with_belief(
        story, beliefs(story, "upgrade")[1], ended=beliefs(story, "upgrade")[3].begun + 0.5
    ),
    "more permits than there are": overtaken("permits"),
    "an eviction that was not noticed in time": eviction_not_noticed,
    "who was soon evicted began beside another": evicted_beside_another,
}


def older_token(story: Story) -> Story:
    held = beliefs(story, "turns")
    return with_belief(story, held[1], token=held[0].token - 1)


def same_token_twice(story: Story) -> Story:
    held = beliefs(story, "turns")
    return with_belief(story, held[1], token=held[0].token)


def created_before(story: Story) -> Story:
    """The second entry of a name says to have been created before the first."""
    first, second = [change for change in story.changes if "/turns/" in change.key and change.version == 1][:2]
    wrong = replace(second, create_revision=first.create_revision - 1)
    return replace(story, changes=[wrong if change is second else change for change in story.changes])


TOKENS: dict[str, Tamper] = {
    "a later holder with an older token": older_token,
    "two holders with one token": same_token_twice,
    "a reader's token is older than that of the writer before": lambda story: with_belief(
        story, beliefs(story, "book")[3], token=beliefs(story, "book")[2].token - 1
    ),
    "etcd grants an older token": created_before,
}


def asked_late(story: Story) -> Story:
    """An acquire was asked for when a later grant had been told already, and yet was committed before."""
    early = next(operation for operation in story.operations if operation.kind == "acquire")
    late = beliefs(story, "book")[2].begun + 0.05
    return with_operation(story, early, invoked=late, completed=late + 0.1)


def without_change(*, deletion: bool) -> Tamper:
    """The record lacks the first deletion, or the first writing, of an entry."""

    def tamper(story: Story) -> Story:
        left_out = next(each for each in story.changes if (each.value is None) is deletion and "/l/" in each.key)
        return replace(story, changes=[each for each in story.changes if each is not left_out])

    return tamper


def record_out_of_order(story: Story) -> Story:
    return replace(story, changes=[*story.changes[1:], story.changes[0]])


def written_twice(story: Story) -> Story:
    again: Changed = next(change for change in story.changes if "/l/" in change.key)
    return replace(story, changes=[again, *story.changes])


COMMIT_ORDER: dict[str, Tamper] = {
    "a grant that never was": lambda story: with_belief(story, beliefs(story, "turns")[0], token=999),
    "a hold of somebody else's session": lambda story: with_belief(story, beliefs(story, "turns")[0], session="f" * 16),
    "a reader believes to write": lambda story: with_belief(
        story, beliefs(story, "book")[0], part=Part("book", "exclusive")
    ),
    "more permits than were granted": lambda story: with_belief(
        story, beliefs(story, "permits")[0], part=Part("permits", "permits", 3, 3)
    ),
    "a token of another's acquire": lambda story: with_operation(
        story, asked(story, "turns"), token=beliefs(story, "turns")[1].token
    ),
    "a token of no acquire": lambda story: with_operation(story, asked(story, "turns"), token=999),
    "an acquire that etcd committed before it was asked for": asked_late,
    "a grant while another holds": without_change(deletion=True),
}

RECORD: dict[str, Tamper] = {
    "an entry's writing is missing": without_change(deletion=False),
    "changes in another order": record_out_of_order,
    "a change is there twice": written_twice,
}


def end_not_told(story: Story) -> Story:
    return with_belief(story, beliefs(story, "delayed")[0], ended=math.inf, end=End.OPEN)


def end_told_late(story: Story) -> Story:
    held = beliefs(story, "delayed")[0]
    return with_belief(story, held, ended=held.ended + 1.0)


ENDINGS: dict[str, Tamper] = {
    "nobody told the holder": end_not_told,
    "the session's end was found out late": end_told_late,
    "the eviction was told late": lambda story: with_belief(
        story, beliefs(story, "evicted")[0], ended=beliefs(story, "evicted")[0].ended + 10
    ),
    "another reason was told": lambda story: with_belief(
        story, beliefs(story, "evicted")[0], reason="MAX_HOLD_EXCEEDED"
    ),
    "an end that did not come": lambda story: with_belief(story, beliefs(story, "evicted")[0], reason="LEASE_EXPIRED"),
    "a key was deleted by nobody": lambda story: with_belief(
        story, beliefs(story, "turns")[0], end=End.LOST, reason="REMOVED_EXTERNALLY"
    ),
}


def failed_and_holds(story: Story) -> Story:
    """An acquire that was granted, and lasted, is said to have failed."""
    operation = asked(story, "evicted")
    return with_operation(story, operation, outcome=Outcome.FAILED, reason="WAIT_TIMEOUT", completed=operation.invoked)


def failed_and_stays(story: Story) -> Story:
    """The same, with an entry that is never deleted."""
    asked_for = asked(story, "delayed")
    gone = next(each for each in story.changes if "/delayed/" in each.key and each.value is None)
    changes = [each for each in story.changes if each.revision < gone.revision]
    return replace(with_operation(story, asked_for, outcome=Outcome.FAILED, reason="WOULD_BLOCK"), changes=changes)


SETTLED: dict[str, Tamper] = {
    "a failed acquire held for a while": failed_and_holds,
    "a failed acquire holds for ever": failed_and_stays,
}


def read_as_free(story: Story) -> Story:
    """A linearizable read denies a hold in the midst of it."""
    held = beliefs(story, "turns")[0]
    asked_at, told_at = held.begun + 0.1, held.begun + 0.2
    read = Operation(
        "bob", 999, "check_token", "", (held.part,), "", 0, asked_at, told_at, Outcome.OK, NOT_HELD, held.token
    )
    return replace(story, operations=[*story.operations, read])


READS: dict[str, Tamper] = {"a hold is denied": read_as_free}


def never_answered(story: Story) -> Story:
    return with_operation(story, asked(story, "turns"), completed=math.inf)


def answered_late(story: Story) -> Story:
    operation = asked(story, "turns")
    return with_operation(story, operation, completed=operation.invoked + 21)


def answered_long_after_healing(story: Story) -> Story:
    operation = asked(story, "turns")
    fault = Fault("partition", "etcd-0", operation.invoked, operation.invoked + 100)
    return replace(with_operation(story, operation, completed=operation.invoked + 121), faults=[fault])


def granted_late_after_healing(story: Story) -> Story:
    """Soon enough for an answer, and later than a TTL and two seconds after the last fault."""
    operation = asked(story, "turns")
    fault = Fault("partition", "etcd-0", operation.invoked, operation.invoked + 1)
    return replace(with_operation(story, operation, completed=fault.until + TTL + 2.5), faults=[fault])


WAITS: dict[str, Tamper] = {
    "never answered": never_answered,
    "answered too late": answered_late,
    "answered too late after a fault was healed": answered_long_after_healing,
    "granted later than a TTL after a fault was healed": granted_late_after_healing,
    "a timeout that did not end the wait": lambda story: with_operation(
        story, asked(story, "turns"), wait=5.0, completed=asked(story, "turns").invoked + 26
    ),
}


def taken_late(story: Story) -> Story:
    """The first holder's write comes again after the second's, and is taken."""
    late = next(write for write in story.writes if write.fenced)
    return replace(story, writes=[*story.writes, late])


def refused_a_holder(story: Story) -> Story:
    held = beliefs(story, "turns")[0]
    write = Wrote(held.begun + 0.1, True, "turns", held.token, "value", False)
    return replace(story, writes=[write, *story.writes])


REGISTERS: dict[str, Tamper] = {
    "the fenced register goes back": taken_late,
    "the fenced register refuses who holds": refused_a_holder,
}


def granted_within_the_delay(story: Story) -> Story:
    """The hold is seen to go a second after its session, not five."""
    gone = next(change for change in story.changes if change.value is None and "/delayed/" in change.key)
    changes = [replace(each, at=each.at - 4.0) if each.revision >= gone.revision else each for each in story.changes]
    return replace(story, changes=changes)


DELAYS: dict[str, Tamper] = {"granted within the lock delay": granted_within_the_delay}


def without(what: str) -> Callable[[list[Observed]], list[Observed]]:
    """The watch leaves one thing out of a revision."""

    def tell(observed: list[Observed]) -> list[Observed]:
        index = next(number for number, each in enumerate(observed) if any(told[0] == what for told in each.told))
        observed[index] = replace(observed[index], told=())
        return observed

    return tell


WATCHES: dict[str, Tamper] = {
    "a grant is left out": lambda story: with_observed(story, without("GRANTED")),
    "an end is left out": lambda story: with_observed(story, without("RELEASED")),
    "a revision is left out": lambda story: with_observed(story, lambda observed: observed[:3] + observed[4:]),
    "a revision is told twice": lambda story: with_observed(story, lambda observed: [*observed, observed[-1]]),
    "a snapshot has a hold that was not there": lambda story: with_observed(
        story, lambda observed: [replace(observed[0], told=(("held", "turns", 5),)), *observed[1:]]
    ),
}

PLANTS = {
    "exclusion": EXCLUSION,
    "tokens": TOKENS,
    "commit order": COMMIT_ORDER,
    "record": RECORD,
    "endings": ENDINGS,
    "settled": SETTLED,
    "reads": READS,
    "waits": WAITS,
    "registers": REGISTERS,
    "delays": DELAYS,
    "watches": WATCHES,
}
