"""What a client may send that means no good: mostly valid enough to get somewhere.

Some of a request is only known once the server has answered. It is written as a placeholder, which `filled_in` replaces
when the request is sent.
"""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hypothesis import strategies as st

from lockstream.v1 import session_pb2
from tests.fuzzing.messages import TEXTS, UINT64, Hints, messages

OWN_SESSION = "«own session»"
OTHERS_SESSION = "«somebody else's session»"
SECRET = "«resume token»"  # noqa: S105 - it stands for one
TOKEN = 4_242_424_242
"""The token of the acquire that the message is about."""

_ACTIONS = [field.name for field in session_pb2.Request.DESCRIPTOR.oneofs_by_name["action"].fields]
_ACQUIRES = (1, 1, 2, 2, 3, 4)
_ASKS_MUCH = ("acquire", "acquire", "acquire", "acquire", "acquire_all", "upgrade")

# Nothing lasts for longer than a few seconds, so that all of it is over soon after the test.
TAME: Hints = {
    "lockstream.v1.Request.action": st.sampled_from((*_ACTIONS, *_ASKS_MUCH)),
    "request_id": st.sampled_from(UINT64),
    "acquire_id": st.sampled_from(_ACQUIRES),
    "shared_acquire_id": st.sampled_from(_ACQUIRES),
    "token": st.sampled_from((TOKEN, TOKEN, TOKEN, TOKEN, 1)),
    "name": st.sampled_from(("a", "a", "b", "a/b", "ü\0%2F")),
    "owner": st.sampled_from(("", "one", "two", "three")),
    "mode": st.sampled_from((0, 1, 2, 2, 2)),
    "permits": st.none(),
    "limit": st.none(),
    "ttl": st.sampled_from((None, Duration(seconds=2), Duration(seconds=3))),
    "detach_grace": st.sampled_from((None, Duration(), Duration(seconds=1))),
    "timeout": st.sampled_from((Duration(nanos=1), Duration(nanos=20_000_000))),
    "max_hold": st.sampled_from((None, None, None, None, Duration(seconds=1))),
    "yield_notice": st.none(),
    "lock_delay": st.none(),
    "session_id": st.sampled_from((OWN_SESSION, OWN_SESSION, OTHERS_SESSION, "f" * 16)),
    "resume_token": st.sampled_from((SECRET, SECRET, "")),
    "client_name": st.just("fuzz"),
    "value": st.binary(max_size=2),
    "metadata": st.dictionaries(st.sampled_from("ab"), st.text(max_size=2)),
}
"""Valid by itself, whatever it is in the state of the stream."""
COUNTED: Hints = {
    **TAME,
    "lockstream.v1.Request.action": st.sampled_from(("acquire", "acquire_all")),
    "mode": st.just(3),
    "permits": st.sampled_from((0, 1, 2)),
    "limit": st.sampled_from((2, 2, 2, 3)),
}
"""The same, for permits."""
DELAYED: Hints = {
    **TAME,
    "lockstream.v1.Request.action": st.just("acquire"),
    "mode": st.just(1),
    "lock_delay": st.just(Duration(seconds=1)),
}
"""The same, with a lock delay."""
WILD: Hints = {
    "lockstream.v1.Request.action": st.sampled_from((*_ACTIONS, *_ASKS_MUCH, None)),
    "acquire_id": st.sampled_from((*_ACQUIRES, 0, 2**63 - 1, 2**63)),
    "token": st.sampled_from((TOKEN, TOKEN, TOKEN, 0, 2**63 - 1, 2**64 - 1)),
    "session_id": TAME["session_id"] | TEXTS,
    "resume_token": TAME["resume_token"] | TEXTS,
}
"""Anything that a field can hold."""

_TAME = messages(session_pb2.Request, TAME)
_WILD = messages(session_pb2.Request, WILD)
REQUESTS = st.one_of(
    _TAME, _TAME, _TAME, messages(session_pb2.Request, COUNTED), messages(session_pb2.Request, DELAYED), _WILD
)
FRAMES = st.builds(session_pb2.SessionRequest, requests=st.lists(REQUESTS, min_size=1, max_size=6))
OPENING = messages(session_pb2.Open, TAME)


def filled_in(message: Message, texts: Mapping[str, str], token: Callable[[int], int]) -> None:
    """Put what is known in the place of the placeholders. `token` knows the tokens of acquires."""
    for field, value in message.ListFields():
        if isinstance(value, Message):
            filled_in(value, texts, token)
        elif isinstance(value, str) and value in texts:
            setattr(message, field.name, texts[value])
        elif value == TOKEN:
            about: Any = message
            setattr(
                message, field.name, token(getattr(about, "shared_acquire_id", 0) or getattr(about, "acquire_id", 0))
            )
        elif field.is_repeated and field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for each in value:
                filled_in(each, texts, token)
