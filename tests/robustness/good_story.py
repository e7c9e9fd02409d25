"""A history in which everything is right, and what it takes to tamper with it."""

from collections.abc import Callable
from dataclasses import replace

from tests.robustness.history import Observed, Part
from tests.robustness.model import Model
from tests.robustness.story import Belief, Operation, Story

Tamper = Callable[[Story], Story]

SEMAPHORE = Part("permits", "permits", 2, 3)


def good_story() -> Story:
    """A bit of everything, all of it right. The names tell which part is which."""
    model = Model()
    ann, bob, cid = (model.open(client) for client in ("ann", "bob", "cid"))
    # Two in turn, who write.
    first = model.acquire(ann, Part("turns"))
    model.write(first)
    second = model.acquire(bob, Part("turns"))
    model.release(first)
    model.write(second)
    model.release(second)
    # Readers, then a writer, then one of the readers' upgrade and back.
    readers = [model.acquire(session, Part("book", "shared")) for session in (ann, bob)]
    writer = model.acquire(cid, Part("book"))
    for reader in readers:
        model.release(reader)
    model.release(writer)
    shared = model.acquire(ann, Part("upgrade", "shared"))
    upgrade = model.upgrade(shared)
    behind = model.acquire(bob, Part("upgrade", "shared"))
    model.downgrade(upgrade)
    model.release(upgrade)
    model.release(behind)
    # Permits, two of which are too many for three.
    some, more = model.acquire(ann, SEMAPHORE), model.acquire(bob, SEMAPHORE)
    model.release(some)
    model.release(more)
    # Several at once.
    several = model.acquire(ann, Part("turns"), Part("book", "shared"))
    model.release(several)
    # One is evicted while the next waits; one dies; one is lost with a delay; one gives up.
    evicted, next_in_line = model.acquire(ann, Part("evicted")), model.acquire(bob, Part("evicted"))
    model.evict(evicted)
    model.now += 5.0
    model.release(next_in_line)
    model.acquire(cid, Part("killed"))
    waits = model.acquire(ann, Part("killed"))
    model.acquire(cid, Part("turns"))
    gives_up = model.acquire(bob, Part("turns"))
    model.release(gives_up)
    model.kill("cid")
    model.release(waits)
    model.acquire(ann, Part("delayed"), delay=5.0)
    model.acquire(bob, Part("delayed"))
    model.expire(ann)
    model.expire(bob)
    return model.story()


STORY = good_story()


def beliefs(story: Story, name: str) -> list[Belief]:
    """Those in one name, in order."""
    return [belief for belief in story.beliefs if belief.name == name]


def with_belief(story: Story, old: Belief, **changes: object) -> Story:
    """Another belief in the place of one."""
    new = replace(old, **changes)  # type: ignore[arg-type]  # each plant names fields of it
    return replace(story, beliefs=[new if belief is old else belief for belief in story.beliefs])


def with_operation(story: Story, old: Operation, **changes: object) -> Story:
    """Another operation in the place of one."""
    new = replace(old, **changes)  # type: ignore[arg-type]  # as above
    return replace(story, operations=[new if operation is old else operation for operation in story.operations])


def with_observed(story: Story, tell: Callable[[list[Observed]], list[Observed]]) -> Story:
    """A watch that told something else."""
    [(watch, observed)] = story.observations.items()
    return replace(story, observations={watch: tell([*observed])})


def asked(story: Story, name: str) -> Operation:
    """The first acquire of a name."""
    return next(each for each in story.operations if each.kind == "acquire" and each.names == name)
