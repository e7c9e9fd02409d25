"""What an operator may do to other people's locks."""

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.core.model import Entry, EvictionKind, EvictionRecord, session_text
from lockstream_server.core.queue import Queue
from lockstream_server.sessions import evictions
from lockstream_server.sessions.host import Host


class Operator:
    """Breaks locks and ends sessions, of this server or of any other, on somebody's behalf."""

    def __init__(self, host: Host, reason: str, actor: str) -> None:
        """`reason` and `actor` go into the records and to those who held."""
        self._host = host
        self._reason = reason
        self._actor = actor

    async def force_release(self, name: str, token: int | None) -> list[EvictionRecord]:
        """Take a lock from the holder with this token, or from whoever holds it if that is None.

        Raises LockError: NOT_HELD when there is no such hold, STORE_UNAVAILABLE.
        """
        queue = self._host.table.locks.get(name)
        holders = _holders(queue) if queue is not None else []
        done = []
        for holder in holders:
            if token in (None, holder.token):
                eviction = self._eviction(holder)
                if await evictions.evict(self._host, holder, eviction):
                    done.append(eviction)
        if not done:
            whom = f"with token {token}" if token is not None else "at all"
            raise LockError(Reason.NOT_HELD, f"nobody holds {name!r} {whom}")
        return done

    async def end_session(self, session: int) -> EvictionRecord:
        """End a session, whatever it holds. Raises LockError: SESSION_EXPIRED when there is none, STORE_UNAVAILABLE."""
        eviction = EvictionRecord(
            EvictionKind.FORCE_RELEASED, session, "", 0, 0, self._reason, self._actor, self._host.wall_clock()
        )
        while (recorded := await self._host.store.read_session(session)) is not None:
            if await evictions.evict_session(self._host, session, recorded.attached_at, eviction):
                return eviction
        raise LockError(Reason.SESSION_EXPIRED, f"there is no session {session_text(session)}")

    def _eviction(self, holder: Entry) -> EvictionRecord:
        return EvictionRecord(
            EvictionKind.FORCE_RELEASED,
            holder.session or 0,
            holder.name,
            holder.record.acquire,
            holder.token,
            self._reason,
            self._actor,
            self._host.wall_clock(),
        )


def _holders(queue: Queue) -> list[Entry]:
    return queue.entries[: queue.holding]
