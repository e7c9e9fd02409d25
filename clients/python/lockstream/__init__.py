"""Lockstream: distributed locks held over a streaming session.

    async with lockstream.connect("localhost:7420") as client:
        async with client.session(ttl=10) as session:
            async with session.lock("reports/daily") as lock:
                await write_report(fencing_token=lock.token)

`lockstream.sync` is the same for programs without asyncio, `lockstream.testing` a pytest plugin.
"""

from __future__ import annotations

from lockstream._client import Client, connect
from lockstream._context import LockContext
from lockstream._errors import (
    AcquireCancelled,
    AcquireIdReused,
    AlreadyHeld,
    BadResumeToken,
    ConfigError,
    InvalidArgument,
    LockLost,
    LockstreamError,
    NotFound,
    NotHeld,
    ProtocolError,
    QuotaExceeded,
    RemovedExternally,
    ServerDefect,
    ServerDraining,
    ServerUnavailable,
    SessionExpired,
    SlowConsumer,
    StaleToken,
    StoreUnavailable,
    Superseded,
    WaitTimeout,
    WouldBlock,
    WrongState,
)
from lockstream._lock import Lock, Loss
from lockstream._options import Options
from lockstream._reasons import ErrorReason, LossReason
from lockstream._session import Session
from lockstream._views import ClaimView, EntryState, EntryView, LockView, SessionView

__all__ = [
    "AcquireCancelled",
    "AcquireIdReused",
    "AlreadyHeld",
    "BadResumeToken",
    "ClaimView",
    "Client",
    "ConfigError",
    "EntryState",
    "EntryView",
    "ErrorReason",
    "InvalidArgument",
    "Lock",
    "LockContext",
    "LockLost",
    "LockView",
    "LockstreamError",
    "Loss",
    "LossReason",
    "NotFound",
    "NotHeld",
    "Options",
    "ProtocolError",
    "QuotaExceeded",
    "RemovedExternally",
    "ServerDefect",
    "ServerDraining",
    "ServerUnavailable",
    "Session",
    "SessionExpired",
    "SessionView",
    "SlowConsumer",
    "StaleToken",
    "StoreUnavailable",
    "Superseded",
    "WaitTimeout",
    "WouldBlock",
    "WrongState",
    "connect",
]
