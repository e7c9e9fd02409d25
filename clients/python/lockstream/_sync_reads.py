"""What a blocking client can look up, and what operators may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockstream import _admin, _client
    from lockstream._portal import Portal
    from lockstream._views import EvictionView, LockView, SessionView, TokenView


class Reads:
    """As the reads of `lockstream.Client`, blocking."""

    def __init__(self, portal: Portal, client: _client.Client) -> None:
        self._portal = portal
        self._client = client

    def get_lock(self, name: str, *, linearizable: bool = False) -> LockView:
        """One lock; see `lockstream.Client.get_lock`."""
        return self._portal.call(lambda: self._client.get_lock(name, linearizable=linearizable))

    def list_locks(
        self, prefix: str = "", *, held: bool = False, contended: bool = False, session_id: str = ""
    ) -> list[LockView]:
        """The locks that are held or awaited, by name; see `lockstream.Client.list_locks`."""
        return self._portal.call(
            lambda: self._client.list_locks(prefix, held=held, contended=contended, session_id=session_id)
        )

    def check_token(self, name: str, token: int) -> bool:
        """Whether this fencing token holds the lock at this moment. Linearizable."""
        return self._portal.call(lambda: self._client.check_token(name, token))

    def inspect_token(self, name: str, token: int) -> TokenView:
        """As `check_token`, with the highest token known; see `lockstream.Client.inspect_token`."""
        return self._portal.call(lambda: self._client.inspect_token(name, token))

    def get_session(self, session_id: str) -> SessionView:
        """One session; NotFound when there is none."""
        return self._portal.call(lambda: self._client.get_session(session_id))

    def list_sessions(self, *, client_name: str = "", server: str = "") -> list[SessionView]:
        """The live sessions, by identifier; see `lockstream.Client.list_sessions`."""
        return self._portal.call(lambda: self._client.list_sessions(client_name=client_name, server=server))

    def list_evictions(self, name: str = "", *, session_id: str = "") -> list[EvictionView]:
        """Who was evicted within the last hour, the newest first; see `lockstream.Client.list_evictions`."""
        return self._portal.call(lambda: self._client.list_evictions(name, session_id=session_id))


class Admin:
    """As `lockstream.Admin`, blocking."""

    def __init__(self, portal: Portal, admin: _admin.Admin) -> None:
        self._portal = portal
        self._admin = admin

    def force_release(
        self,
        name: str,
        *,
        token: int | None = None,
        any: bool = False,  # noqa: A002 - the word of the protocol
        reason: str,
        actor: str,
    ) -> list[EvictionView]:
        """Take a lock away from whoever holds it; see `lockstream.Admin.force_release`."""
        return self._portal.call(
            lambda: self._admin.force_release(name, token=token, any=any, reason=reason, actor=actor)
        )

    def end_session(self, session_id: str, *, reason: str, actor: str) -> EvictionView:
        """End a session; see `lockstream.Admin.end_session`."""
        return self._portal.call(lambda: self._admin.end_session(session_id, reason=reason, actor=actor))
