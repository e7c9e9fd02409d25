"""Every kind of fault there is, by the name that reports count it under."""

from collections.abc import Mapping

from tests.robustness.faults import etcd
from tests.robustness.faults.consumers import crowd_gone, outbox_overflowed
from tests.robustness.faults.fault import Fault
from tests.robustness.faults.network import CLIENT_LINKS, PEER_LINKS, STORE_LINKS, TROUBLES, Sides, on_links
from tests.robustness.faults.processes import clock_stepped, frozen, killed, servers_restarted
from tests.robustness.faults.roles import a_client, a_follower, a_majority, a_server, all_servers, the_leader


def _troubled(links: Mapping[str, Sides]) -> dict[str, Fault]:
    """Every trouble on every one of these links."""
    return {
        f"{link}: {trouble}": on_links(sides, harm)
        for link, sides in links.items()
        for trouble, harm in TROUBLES.items()
    }


FAMILIES: Mapping[str, Mapping[str, Fault]] = {
    "servers": {
        "server killed": killed(a_server),
        "server frozen": frozen(a_server),
        "all servers killed": killed(all_servers),
        "servers restarted in turn": servers_restarted,
    },
    "members": {
        "leader killed": killed(the_leader),
        "leader frozen": frozen(the_leader),
        "follower killed": killed(a_follower),
        "follower frozen": frozen(a_follower),
        "majority frozen": frozen(a_majority),
    },
    "clients": {
        "client killed": killed(a_client),
        "client frozen": frozen(a_client),
        "client's clock stepped": clock_stepped,
    },
    "consumers": {
        "outbox overflowed": outbox_overflowed,
        "crowd gone": crowd_gone,
    },
    "etcd": {
        "leader moved": etcd.leader_moved,
        "history compacted": etcd.history_compacted,
        "server behind compaction": etcd.server_behind_compaction,
        "database defragmented": etcd.database_defragmented,
        "out of space": etcd.out_of_space,
        "slow disk": etcd.disk_slow,
    },
    "peer links": _troubled(PEER_LINKS),
    "store links": _troubled(STORE_LINKS),
    "client links": _troubled(CLIENT_LINKS),
}
"""The kinds by what they harm; a schedule takes from each family in turn, however many kinds it has."""

CONSISTENT_SINCE = (3, 5, 3)
"""Before this release of etcd, members that were killed can come back with different contents."""

KILLS_A_MEMBER = frozenset({"leader killed", "follower killed"})


def bearable(version: tuple[int, ...]) -> Mapping[str, Mapping[str, Fault]]:
    """The kinds under which this release of etcd keeps its history: nothing on top of it could do so without."""
    spared = KILLS_A_MEMBER if version < CONSISTENT_SINCE else frozenset[str]()
    return {
        family: {name: fault for name, fault in kinds.items() if name not in spared}
        for family, kinds in FAMILIES.items()
    }


KINDS: Mapping[str, Fault] = {name: fault for family in FAMILIES.values() for name, fault in family.items()}
"""All of them."""
