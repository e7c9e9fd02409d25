"""Random histories of a service that is right by construction raise no violation."""

from hypothesis import given
from hypothesis import strategies as st

from tests.robustness.history import Part
from tests.robustness.model import Model
from tests.robustness.validate import validate

CLIENTS = st.sampled_from(["ann", "bob", "cid", "dan"])
PICK = st.integers(0, 9)
PARTS = st.lists(
    st.one_of(
        st.sampled_from([Part("a"), Part("a", "shared"), Part("b"), Part("b", "shared")]),
        st.sampled_from([Part("permits", "permits", number, 3) for number in (1, 2, 3)]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda part: part.name,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), PICK, PARTS),
        st.tuples(st.just("acquire"), PICK, PARTS),
        st.tuples(st.just("delayed"), PICK),
        st.tuples(st.sampled_from(["release", "withdraw", "write", "upgrade", "downgrade", "evict"]), PICK),
        st.tuples(st.sampled_from(["release", "expire"]), PICK),
        st.tuples(st.just("kill"), PICK),
        st.tuples(st.just("open"), CLIENTS),
    ),
    max_size=40,
)


def play(model: Model, step: tuple[object, ...]) -> None:
    """Take a step, if it makes sense."""
    match step:
        case ("open", str(client)) if not any(client in whose for whose in model.sessions.values()):
            model.open(f"{client}-{model.revision}")
        case ("acquire", int(pick), list(parts)) if model.sessions:
            model.acquire([*model.sessions][pick % len(model.sessions)], *parts)
        case ("delayed", int(pick)) if model.sessions:
            model.acquire([*model.sessions][pick % len(model.sessions)], Part("a"), delay=2.0)
        case ("withdraw", int(pick)) if waiting := model.waiting():
            model.release(waiting[pick % len(waiting)])
        case ("expire", int(pick)) if model.sessions:
            model.expire([*model.sessions][pick % len(model.sessions)])
        case ("kill", int(pick)) if model.sessions:
            model.kill([*model.sessions.values()][pick % len(model.sessions)])
        case (str(what), int(pick)) if held := model.held():
            claim = held[pick % len(held)]
            alone = len(claim.parts) == 1 and not claim.delay
            match what, claim.parts[0].mode:
                case "release", _:
                    model.release(claim)
                case "evict", _:
                    model.evict(claim)
                case "write", "exclusive":
                    model.write(claim)
                case "downgrade", "exclusive" if alone:
                    model.downgrade(claim)
                case "upgrade", "shared" if alone and claim.upgrades is None and claim.upgraded_by is None:
                    if not any(set(other.places[:1]) & set(claim.places) for other in model.waiting()):
                        model.upgrade(claim)
                case _:
                    pass
        case _:
            pass


@given(STEPS)
def test_no_history_of_a_right_service_raises_a_violation(steps: list[tuple[object, ...]]) -> None:
    model = Model()
    for client in ("ann", "bob"):
        model.open(client)
    for step in steps:
        play(model, step)
    for session in [*model.sessions]:
        model.expire(session)
    story = model.story()
    assert validate(story) == []
    assert len(story.beliefs) >= sum(len(claim.parts) for claim in model.claims if claim.belief)
