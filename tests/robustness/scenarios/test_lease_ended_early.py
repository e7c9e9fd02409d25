"""A lock was granted while its holder had proof of it, because etcd had ended its lease early.

A leader of etcd was frozen for longer than the TTL. Its successor was elected, and renewed the leases. When the old
leader woke up it took them for expired, and had its successor revoke them before it knew that there was one (etcd's
issue 15247; often seen on 3.5.1, once on 3.6.16). The entries of the sessions went with their leases, and whoever was
next held. The holders heard of their loss from their own servers, at about that time: some a little later, and one
whose server had no word from etcd, when its proof ran out.

It broke the promise that nobody is granted what another has proof of. Since then a session's entries are not under its
lease, and are deleted when nobody can believe in them any more.
"""

import pytest

from lockstream_server.core.messages import Acquire
from lockstream_server.core.model import Mode
from lockstream_server.sessions.orphans import Orphans
from tests.robustness.scenarios.as_it_was import as_it_was
from tests.robustness.scenarios.small_world import SmallWorld, small_world
from tests.support.players import TTL, Stream


def one_holds_and_one_waits(world: SmallWorld) -> tuple[Stream, Stream]:
    """Each at a server of its own."""
    holder, waiter = world.client(server=0), world.client(server=1)
    for client in (holder, waiter):
        world.do(client.ask, Acquire(1, "a", Mode.EXCLUSIVE, "", None))
        world.quiesce()
    return holder, waiter


def test_nobody_is_granted_what_another_has_proof_of() -> None:
    with small_world(servers=2) as world:
        holder, waiter = one_holds_and_one_waits(world)
        assert ({*holder.held}, waiter.queued) == ({1}, {1})
        world.stores[0].hold_confirms = True  # and what else etcd has to say to the holder's server
        world.do(world.truth.revoke_lease, holder.session)
        world.serve(1)
        assert not waiter.held, f"granted beside one with proof: {waiter}"
        world.pass_time(TTL)
        world.serve(1)
        assert not holder.held
        assert {*waiter.held} == {1}


def test_who_knows_how_long_the_proof_lasts_waits_no_longer() -> None:
    with small_world(servers=2) as world:
        holder, waiter = one_holds_and_one_waits(world)
        world.stores[0].hold_confirms = True
        world.pass_time(TTL * 0.9)
        assert {*holder.held} == {1}
        world.do(world.truth.revoke_lease, holder.session)
        for server in (0, 1):
            world.serve(server)
        assert (holder.state, waiter.held) == ("over", {})
        world.pass_time(TTL * 0.1)
        for server in (0, 1):
            world.serve(server)
        assert {*waiter.held} == {1}


def test_as_it_was() -> None:
    with as_it_was(entries_went_with_the_lease, "beside"):
        test_nobody_is_granted_what_another_has_proof_of()


def entries_went_with_the_lease(patch: pytest.MonkeyPatch) -> None:
    free_later = Orphans._free_later  # noqa: SLF001 - what is to be broken lies inside
    patch.setattr(Orphans, "_free_later", lambda self, session, _proven: free_later(self, session, 0.0))
