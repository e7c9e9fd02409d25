"""What an operator of etcd does to one member, past every link of the cluster."""

from dataclasses import dataclass
from typing import Any

import grpc
from etcd3 import etcdrpc

from tests.robustness.cluster.looking import CHANNEL_OPTIONS, LOOK_SECONDS

_ACT_SECONDS = 10.0
"""Time for it to do what it was told to."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What a member thinks of itself; it may be behind."""

    member_id: int
    leader_id: int
    """0 when it knows of none."""
    term: int
    version: str
    database_bytes: int

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader."""
        return self.leader_id == self.member_id


class EtcdAdmin:
    """Maintenance calls to the member at `endpoint`, a `host:port`. Close it.

    Every call raises grpc.aio.AioRpcError when the member refuses or does not answer in time.
    """

    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.aio.insecure_channel(endpoint, options=CHANNEL_OPTIONS)
        # The stubs of the etcd package are not typed.
        self._maintenance: Any = etcdrpc.MaintenanceStub(self._channel)
        self._kv: Any = etcdrpc.KVStub(self._channel)

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    async def status(self) -> MemberStatus:
        """What the member itself knows; no other is asked."""
        reply = await self._maintenance.Status(etcdrpc.StatusRequest(), timeout=LOOK_SECONDS)
        return MemberStatus(reply.header.member_id, reply.leader, reply.raftTerm, reply.version, reply.dbSize)

    async def revision(self) -> int:
        """The newest revision there is; a linearizable read, so a majority has agreed."""
        reply = await self._kv.Range(etcdrpc.RangeRequest(key=b"\0", count_only=True), timeout=LOOK_SECONDS)
        return int(reply.header.revision)

    async def move_leader(self, to: int) -> None:
        """Hand leadership to the member with this id; only the leader can."""
        await self._maintenance.MoveLeader(etcdrpc.MoveLeaderRequest(targetID=to), timeout=_ACT_SECONDS)

    async def compact(self, revision: int) -> None:
        """Forget the history before `revision`."""
        await self._kv.Compact(etcdrpc.CompactionRequest(revision=revision), timeout=_ACT_SECONDS)

    async def defragment(self) -> None:
        """Write the database anew; meanwhile the member answers nobody."""
        await self._maintenance.Defragment(etcdrpc.DefragmentRequest(), timeout=_ACT_SECONDS)

    async def arm_no_space(self, member_id: int) -> None:
        """Make the whole cluster refuse what needs space, as if this member's quota were used up."""
        await self._alarm(etcdrpc.AlarmRequest.ACTIVATE, member_id)

    async def disarm_no_space(self) -> None:
        """End that, for whichever members it was said."""
        for member_id in await self.out_of_space():
            await self._alarm(etcdrpc.AlarmRequest.DEACTIVATE, member_id)

    async def out_of_space(self) -> list[int]:
        """The ids of the members whose alarm is raised."""
        reply = await self._alarm(etcdrpc.AlarmRequest.GET, 0)
        return [alarm.memberID for alarm in reply.alarms if alarm.alarm == etcdrpc.NOSPACE]

    async def _alarm(self, action: int, member_id: int) -> Any:
        request = etcdrpc.AlarmRequest(action=action, memberID=member_id, alarm=etcdrpc.NOSPACE)
        return await self._maintenance.Alarm(request, timeout=_ACT_SECONDS)
