"""Two streams had the same session at once, and neither knew of the other.

A client resumed, heard nothing for a while, and resumed once more, at another server. Both servers had the same name,
as they have when nobody gives them one and they run on one host. Each read the session's record at the same revision
and wrote the same record over it. The first was committed; the second found exactly what it was about to write, and
took that for its own first attempt. Everything that a server writes is guarded by the revision that attached the
session to it, which was now the same for both.

It broke the promise that a resumed session has one stream: each was told of its locks, and neither was superseded.
Since then each attachment writes something of its own into the record.
"""

import pytest

from lockstream_server.core.model import SessionRecord
from lockstream_server.sessions import beginnings
from lockstream_server.store.port import TakeOverSession
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import small_world


def test_one_of_two_concurrent_resumes_is_superseded() -> None:
    with small_world(servers=2) as world:
        one, other = (each.host for each in world.registries)
        other.name = one.name
        client = world.client()
        world.quiesce()
        world.do(client.cut)
        first, second = world.resume(client, server=0), world.resume(client, server=1)
        world.commit(TakeOverSession, server=0)
        world.commit(TakeOverSession, server=1)
        world.quiesce()
        assert (first.state, second.state) == ("over", "attached"), f"both have it: {first}, {second}"


def test_as_it_was() -> None:
    with as_it_was(attachments_by_servers_of_one_name_were_the_same, "both have it"):
        test_one_of_two_concurrent_resumes_is_superseded()


def attachments_by_servers_of_one_name_were_the_same(patch: pytest.MonkeyPatch) -> None:
    def with_nothing_of_its_own(session: int, seen: int, record: SessionRecord) -> TakeOverSession:
        return TakeOverSession(session, seen, record._replace(nonce=""))

    patch.setattr(beginnings, "TakeOverSession", with_nothing_of_its_own)
