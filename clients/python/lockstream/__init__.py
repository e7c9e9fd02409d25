"""Lockstream: distributed locks held over a streaming session.

    async with lockstream.connect("localhost:7420") as client:
        async with client.session(ttl=10) as session:
            async with session.lock("reports/daily") as lock:
                await write_report(fencing_token=lock.token)

`lockstream.sync` is the same for programs without asyncio, `lockstream.testing` a pytest plugin.
"""

from __future__ import annotations

from lockstream._admin import Admin
from lockstream._asks import Part
from lockstream._client import Client
from lockstream._connect import connect
from lockstream._context import LockContext
from lockstream._election import Election, Leader, Leadership, LeaderWatch
from lockstream._errors import (
    AcquireCancelled,
    AcquireIdReused,
    AlreadyHeld,
    BadResumeToken,
    ConfigError,
    Deadlock,
    HistoryCompacted,
    InvalidArgument,
    LimitMismatch,
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
    UpgradeConflict,
    Wait,
    WaitTimeout,
    WouldBlock,
    WrongState,
)
from lockstream._lock import Lock, Loss
from lockstream._options import Options
from lockstream._reasons import ErrorReason, LossReason
from lockstream._session import Session
from lockstream._views import (
    ClaimView,
    EntryState,
    EntryView,
    EvictionView,
    LockView,
    Mode,
    SessionView,
    TokenView,
)
from lockstream._watch import ChangeKind, LockChange, LockChanges, LocksSnapshot, LockWatch

__all__ = [
    "AcquireCancelled",
    "AcquireIdReused",
    "Admin",
    "AlreadyHeld",
    "BadResumeToken",
    "ChangeKind",
    "ClaimView",
    "Client",
    "ConfigError",
    "Deadlock",
    "Election",
    "EntryState",
    "EntryView",
    "ErrorReason",
    "EvictionView",
    "HistoryCompacted",
    "InvalidArgument",
    "Leader",
    "LeaderWatch",
    "Leadership",
    "LimitMismatch",
    "Lock",
    "LockChange",
    "LockChanges",
    "LockContext",
    "LockLost",
    "LockView",
    "LockWatch",
    "LocksSnapshot",
    "LockstreamError",
    "Loss",
    "LossReason",
    "Mode",
    "NotFound",
    "NotHeld",
    "Options",
    "Part",
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
    "TokenView",
    "UpgradeConflict",
    "Wait",
    "WaitTimeout",
    "WouldBlock",
    "WrongState",
    "connect",
]
