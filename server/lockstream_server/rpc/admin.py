"""The AdminService."""

from lockstream.v1 import admin_pb2, admin_pb2_grpc
from lockstream_server.core.errors import invalid
from lockstream_server.core.model import check_name
from lockstream_server.rpc import fields, views
from lockstream_server.rpc.handlers import Context, typed_errors
from lockstream_server.sessions.host import Host
from lockstream_server.sessions.operator import Operator

MAX_REASON_BYTES = 1024
MAX_ACTOR_BYTES = 256


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Unpacks, calls one thing, packs."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @typed_errors
    async def ForceRelease(
        self, request: admin_pb2.ForceReleaseRequest, context: Context
    ) -> admin_pb2.ForceReleaseResponse:
        """Take a lock away from those who hold it."""
        check_name(request.name)
        token = _token(request)
        done = await self._operator(request).force_release(request.name, token)
        return admin_pb2.ForceReleaseResponse(evictions=[views.eviction(each) for each in done])

    @typed_errors
    async def EndSession(self, request: admin_pb2.EndSessionRequest, context: Context) -> admin_pb2.EndSessionResponse:
        """End a session."""
        session = fields.session_id(request.session_id)
        eviction = await self._operator(request).end_session(session)
        return admin_pb2.EndSessionResponse(eviction=views.eviction(eviction))

    def _operator(self, request: admin_pb2.ForceReleaseRequest | admin_pb2.EndSessionRequest) -> Operator:
        reason = fields.text("reason", request.reason, MAX_REASON_BYTES, least=1)
        actor = fields.text("actor", request.actor, MAX_ACTOR_BYTES, least=1)
        return Operator(self._host, reason, actor)


def _token(request: admin_pb2.ForceReleaseRequest) -> int | None:
    """The token of the hold that is meant; None for any."""
    match request.WhichOneof("hold"):
        case "token":
            return fields.identifier("token", request.token)
        case "any":
            if not request.any:
                raise invalid("any", "must be true; or state the token")
            return None
        case None:
            raise invalid("hold", "must be the token of a hold, or any")
