"""Messages carry every request, outcome and event there is, each by one class."""

from typing import get_args

from lockstream_server.core import messages
from lockstream_server.core.errors import LockError


def test_requests_outcomes_and_events_are_told_apart_by_their_class() -> None:
    requests, outcomes, happenings = (
        set(get_args(union)) for union in (messages.Request, messages.Outcome, messages.Happening)
    )
    assert not requests & (outcomes | happenings)
    assert outcomes & happenings == {messages.Granted}
    assert LockError in outcomes


def test_no_wait_is_no_length_of_a_wait() -> None:
    assert not messages.NO_WAIT
