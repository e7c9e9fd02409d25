"""The Session stream, told anything in any state: every request is answered once, and nobody else notices."""

import asyncio
from collections import Counter
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from lockstream.v1 import session_pb2
from tests.fuzzing.damage import damaged
from tests.fuzzing.requests import FRAMES, OPENING, OWN_SESSION, SECRET
from tests.fuzzing.site import Site, bystanders
from tests.fuzzing.talker import Babble, Leave, Listen, Say, Step, tell

GOT_SOMEWHERE = {"reply attached", "reply granted", "reply queued", "reply cancelled", "reply proof", "reply closed"}
"""What is heard at least once, unless hardly anything that is said makes sense."""
SAID = FRAMES.map(Say)
BABBLED = st.builds(Babble, damaged(FRAMES.map(session_pb2.SessionRequest.SerializeToString)) | st.binary(max_size=60))
LISTENS = st.just(Listen())
LEAVES = st.builds(Leave, politely=st.booleans())


def only(request: session_pb2.Request) -> Say:
    """A frame of one request."""
    return Say(session_pb2.SessionRequest(requests=[request]))


BEGUN = OPENING.map(lambda opening: only(session_pb2.Request(request_id=5, open=opening)))
RESUMED = st.just(
    only(session_pb2.Request(request_id=6, resume=session_pb2.Resume(session_id=OWN_SESSION, resume_token=SECRET)))
)
STATES: st.SearchStrategy[tuple[Step, ...]] = st.just(()) | st.tuples(BEGUN) | st.tuples(BEGUN, LISTENS)
"""A stream which begins as one should gets further."""
AGAIN = st.tuples(LEAVES, RESUMED | BEGUN, LISTENS)
SPOKEN = st.one_of(*[st.tuples(SAID)] * 5, *[st.tuples(SAID, LISTENS)] * 3, AGAIN)


def play(site: Site, others_session: str, *steps: Step) -> Counter[str]:
    """Say it, and look whether the server is well. Returns how often which answer came."""
    heard = site.run(tell(site.server.target, others_session, *steps))
    site.check_log()
    return heard


def test_any_requests_in_any_state(site: Site) -> None:
    """Every request is answered exactly once, or the stream ends as documented; afterwards nothing is left of it."""
    heard: Counter[str] = Counter()
    with bystanders(site) as those:

        @given(STATES, st.lists(SPOKEN, min_size=8, max_size=16))
        def said(beginning: tuple[Step, ...], steps: list[tuple[Step, ...]]) -> None:
            heard.update(play(site, those.holder.id, *beginning, *chain.from_iterable(steps)))
            those.check()

        said()
    assert {*heard} >= GOT_SOMEWHERE, heard


def test_damaged_frames_in_any_state(site: Site) -> None:
    """What cannot be read ends its own stream with INVALID_ARGUMENT; what still can is answered."""
    with bystanders(site) as those:

        @given(STATES, st.lists(st.one_of(BABBLED, BABBLED, SAID), min_size=1, max_size=4))
        def babbled(beginning: tuple[Step, ...], steps: list[Step]) -> None:
            play(site, those.holder.id, *beginning, *steps)
            those.check()

        babbled()


def test_several_at_once(site: Site) -> None:
    """Talkers who ask for the same names, and so hold and wait while the others go on."""
    with bystanders(site) as those:

        @settings(max_examples=settings().max_examples // 2)
        @given(st.lists(st.tuples(BEGUN, LISTENS, SAID, SAID, LISTENS, SAID), min_size=2, max_size=3))
        def said_together(stories: list[tuple[Step, ...]]) -> None:
            async def together() -> None:
                await asyncio.gather(*(tell(site.server.target, those.holder.id, *story) for story in stories))

            site.run(together())
            site.check_log()
            those.check()

        said_together()
