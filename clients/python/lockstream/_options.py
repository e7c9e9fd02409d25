"""What can be chosen about a client and its sessions."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lockstream._backoff import Backoff
from lockstream._errors import ConfigError

MAX_DURATION = 1e9
"""Seconds of any duration, at the most: thirty years. Calls of gRPC that may take three hundred years hang."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The choices of one client. Durations are in seconds."""

    ttl: float | None = None
    """How long a session outlives the last proof that somebody is there.

    None is the server's default, 10 s.
    """
    grace: float | None = None
    """How long a session is kept when its stream breaks.

    None is the whole TTL; 0 frees everything at once but what has a lock delay.
    """
    name: str = ""
    """Who the client is, for people who read listings. Empty is this host and process."""
    connect_timeout: float = 5.0
    """For how long all endpoints are tried before a session's opening, or a read, fails."""
    backoff_min: float = 0.05
    """The first pause between attempts to connect; it doubles from there, with jitter."""
    backoff_max: float = 2.0
    """The longest pause between attempts to connect."""
    ca: str | None = None
    """File with the certificates that sign the server's; None is the system's own. TLS only."""
    cert: str | None = None
    """File with the certificate that this client shows. TLS only, with `key`."""
    key: str | None = None
    """File with the private key of `cert`."""

    def __post_init__(self) -> None:
        """ConfigError for a value that is of another type or out of range, naming it."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None or field.name not in _OPTIONAL:
                _check(field.name, value)
        if self.backoff_min > self.backoff_max:
            raise ConfigError("option 'backoff_min' is more than option 'backoff_max'")
        if (self.cert is None) != (self.key is None):
            raise ConfigError("options 'cert' and 'key' go together")

    def backoff(self) -> Backoff:
        """The pauses between attempts to connect, from the first."""
        return Backoff(self.backoff_min, self.backoff_max)


def _check(option: str, value: object) -> None:
    if option not in DURATIONS:
        if not isinstance(value, str):
            raise ConfigError(f"option {option!r} must be a text, not {value!r}")
    elif not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(f"option {option!r} must be a number of seconds, not {value!r}")
    elif option == "grace" and not value >= 0:
        raise ConfigError(f"option 'grace' must be zero or more, not {value}")
    elif option != "grace" and not value > 0:
        raise ConfigError(f"option {option!r} must be more than zero, not {value}")
    elif value > MAX_DURATION:
        raise ConfigError(f"option {option!r} must be {MAX_DURATION:.0f} s at the most, not {value}")


DURATIONS = frozenset({"ttl", "grace", "connect_timeout", "backoff_min", "backoff_max"})
_OPTIONAL = frozenset({"ttl", "grace", "ca", "cert", "key"})
"""Those which may be None."""
TLS_OPTIONS = frozenset({"ca", "cert", "key"})
OPTION_NAMES = frozenset(field.name for field in fields(Options))
