"""Every setting of the server, declared once: type, default, unit, bounds and a line of help.

`options` explains what follows from a declaration. Sizes that are part of the protocol, and so the
same at every server, are no settings.
"""

# ruff: noqa: RUF009 - `option` makes a dataclass field; nothing mutable is shared

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from lockstream_server.addresses import check_endpoint, check_listen_address
from lockstream_server.contradictions import contradictions
from lockstream_server.option_sources import CommandLine, load
from lockstream_server.options import SettingError, option, options_of

CLIENT_VARIABLES = frozenset({"LOCKSTREAM_NAME", "LOCKSTREAM_TOKEN", "LOCKSTREAM_SERVERS"})
"""Variables of the `lockstream` command, which a server may inherit and does not read."""

_LISTENING = "listening"
_ETCD = "etcd"
_SESSIONS = "sessions"
_BOUNDS = "bounds"
_DIAGNOSTICS = "diagnostics"
_DEVELOPMENT = "development"


def _check_prefix(text: str) -> None:
    if not (text.startswith("/") and text.endswith("/")):
        raise ValueError(f"must start and end with /, is {text!r}")


def _check_file(text: str) -> None:
    try:
        found = Path(text).is_file()
    except OSError as error:  # the name is too long, or a folder on the way must not be looked into
        raise ValueError(f"cannot look for file {text!r}: {error.strerror}") from None
    if not found:
        raise ValueError(f"there is no file {text!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server; durations are in seconds. Making one checks it.

    Raises:
        SettingError: a value is out of bounds, malformed, or does not go with another.
    """

    listen: tuple[str, ...] = option(
        ("127.0.0.1:7420",),
        _LISTENING,
        "addresses to serve: host:port, [ipv6]:port, unix:/path; port 0 is any free one",
        check=check_listen_address,
    )
    server_name: str = option(
        cast("str", socket.gethostname),
        _LISTENING,
        "name of this server in session records, by which it knows its sessions again when it is restarted; by default "
        "its host name",
    )
    tls_cert: Path | None = option(
        None, _LISTENING, "PEM certificate chain to serve TCP over TLS with", check=_check_file
    )
    tls_key: Path | None = option(None, _LISTENING, "PEM private key of --tls-cert", check=_check_file)
    tls_client_ca: Path | None = option(
        None,
        _LISTENING,
        "PEM authorities; clients must show a certificate of one",
        check=_check_file,
    )
    keepalive_interval: float = option(
        10.0,
        _LISTENING,
        "time between HTTP/2 pings on a connection",
        unit="seconds",
        at_least=1,
        at_most=3600,
    )
    keepalive_timeout: float = option(
        5.0,
        _LISTENING,
        "time a ping may stay unanswered until the connection counts as broken",
        unit="seconds",
        at_least=0.1,
        at_most=600,
    )
    drain_timeout: float = option(
        10.0,
        _LISTENING,
        "time clients have to move to another server on shutdown",
        unit="seconds",
        at_least=0,
        at_most=3600,
    )

    etcd_endpoints: tuple[str, ...] = option(
        ("127.0.0.1:2379",),
        _ETCD,
        "members of the etcd cluster: host:port, http://host:port or https://host:port",
        check=check_endpoint,
    )
    etcd_prefix: str = option("/lockstream/", _ETCD, "what every key begins with", check=_check_prefix)
    etcd_user: str | None = option(None, _ETCD, "user name for etcd")
    etcd_password: str | None = option(
        None,
        _ETCD,
        "password for --etcd-user; processes can see flags, so prefer the file",
        secret=True,
    )
    etcd_password_file: Path | None = option(None, _ETCD, "file with the password for --etcd-user", check=_check_file)
    etcd_ca: Path | None = option(None, _ETCD, "PEM authorities that sign etcd's certificates", check=_check_file)
    etcd_cert: Path | None = option(None, _ETCD, "PEM certificate to show to etcd", check=_check_file)
    etcd_key: Path | None = option(None, _ETCD, "PEM private key of --etcd-cert", check=_check_file)
    etcd_dial_timeout: float = option(
        3.0,
        _ETCD,
        "time to wait for a connection to etcd until a request fails",
        unit="seconds",
        at_least=0.1,
        at_most=60,
    )
    etcd_request_timeout: float = option(
        2.0,
        _ETCD,
        "time to wait for the reply to one attempt of a request, before the next endpoint is tried",
        unit="seconds",
        at_least=0.1,
        at_most=60,
    )

    default_ttl: float = option(10.0, _SESSIONS, "time to live of a session that does not ask for one", unit="seconds")
    min_ttl: float = option(
        2.0,
        _SESSIONS,
        "smallest time to live; a smaller one asked for is raised to it (etcd grants whole "
        "seconds, and none below 1.5 election timeouts)",
        unit="seconds",
        at_least=1,
    )
    max_ttl: float = option(
        600.0,
        _SESSIONS,
        "largest time to live; a larger one asked for is refused",
        unit="seconds",
        at_most=86_400,
    )

    max_sessions: int = option(
        10_000,
        _BOUNDS,
        "sessions attached to this server; more are refused",
        unit="sessions",
        at_least=1,
        at_most=1_000_000,
    )
    max_entries_per_session: int = option(
        1_000,
        _BOUNDS,
        "locks that one session holds or waits for; more are refused",
        unit="entries",
        at_least=1,
        at_most=10_000,
    )
    max_waiters_per_lock: int = option(
        10_000,
        _BOUNDS,
        "entries waiting for one lock; more are refused",
        unit="entries",
        at_least=1,
        at_most=1_000_000,
    )
    max_sessions_per_client: int = option(
        0, _BOUNDS, "sessions with one client name, at all servers; 0 is no quota", unit="sessions", at_least=0
    )
    max_entries_per_client: int = option(
        0,
        _BOUNDS,
        "locks held and awaited by the sessions of one client name, at all servers; 0 is no quota",
        unit="entries",
        at_least=0,
    )
    max_waiters_per_client: int = option(
        0, _BOUNDS, "waiters for one lock with one client name; 0 is no quota", unit="entries", at_least=0
    )
    max_requests_per_second: float = option(
        0.0,
        _BOUNDS,
        "acquires per second of one client name at this server, and as many at once; 0 is no quota",
        unit="requests per second",
        at_least=0,
    )
    outbox_events: int = option(
        1_024,
        _BOUNDS,
        "unsent events of a session; one more ends its stream, the session can be resumed",
        unit="events",
        at_least=16,
        at_most=1_000_000,
    )
    max_observers: int = option(
        1_000,
        _BOUNDS,
        "streams that watch locks at this server; more are refused",
        unit="streams",
        at_least=0,
        at_most=100_000,
    )
    observer_changes: int = option(
        4_096,
        _BOUNDS,
        "unsent changes of a stream that watches locks; more end it, and the client goes on from the last it read",
        unit="changes",
        at_least=16,
        at_most=1_000_000,
    )
    observer_timeout: float = option(
        10.0,
        _BOUNDS,
        "time in which a stream that is told of the past has to take a message; more ends it likewise",
        unit="seconds",
        at_least=0.1,
        at_most=600,
    )
    max_message_bytes: int = option(
        1_048_576,
        _BOUNDS,
        "largest message of a client; a larger one ends its stream",
        unit="bytes",
        at_least=1_048_576,  # the protocol lets clients send as much
        at_most=67_108_864,
    )
    proposals_waiting: int = option(
        20_000,
        _BOUNDS,
        "requests waiting for a place in a transaction; more are refused",
        unit="proposals",
        at_least=1,
        at_most=1_000_000,
    )
    transactions_in_flight: int = option(
        3,
        _BOUNDS,
        "transactions sent to etcd and not answered; requests wait for a place",
        unit="transactions",
        at_least=1,
        at_most=16,
    )
    transaction_proposals: int = option(
        120,
        _BOUNDS,
        "requests in one transaction; etcd refuses more than its --max-txn-ops",
        unit="proposals",
        at_least=1,
        at_most=120,
    )
    max_lag: float = option(
        5.0,
        _BOUNDS,
        "age of the lock table from which on the server reports itself unhealthy",
        unit="seconds",
        at_least=0.5,
        at_most=600,
    )

    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info", _DIAGNOSTICS, "least severe messages to log"
    )
    log_format: Literal["auto", "text", "json"] = option(
        "auto",
        _DIAGNOSTICS,
        "form of the log on standard error; auto is text on a terminal, else json",
    )
    otel_exporter: Literal["none", "console", "otlp"] = option("none", _DIAGNOSTICS, "where OpenTelemetry metrics go")
    otel_endpoint: str | None = option(None, _DIAGNOSTICS, "collector for --otel-exporter=otlp, as http://host:port")
    otel_interval: float = option(
        30.0,
        _DIAGNOSTICS,
        "time between two exports of metrics",
        unit="seconds",
        at_least=1,
        at_most=3600,
    )

    dev: bool = option(False, _DEVELOPMENT, "start a private etcd as a child and use that")
    data_dir: Path | None = option(
        None, _DEVELOPMENT, "folder for the private etcd's data; by default one deleted on exit"
    )
    etcd_binary: Path | None = option(
        None,
        _DEVELOPMENT,
        "program of the private etcd; by default the newer of the one on PATH and the embedded extra's",
        check=_check_file,
    )

    def __post_init__(self) -> None:
        for name, declared in options_of(type(self)).items():
            declared.validate(getattr(self, name))
        for wrong, name, problem in contradictions(self):
            if wrong:
                raise SettingError(problem, name)

    @property
    def etcd_targets(self) -> tuple[str, ...]:
        """`host:port` of every endpoint, without its scheme."""
        return tuple(text.rpartition("://")[2].removesuffix("/") for text in self.etcd_endpoints)

    @property
    def etcd_tls(self) -> bool:
        """Whether etcd is spoken to over TLS: by its scheme, or because an authority is given."""
        return self.etcd_endpoints[0].startswith("https://") or self.etcd_ca is not None

    def read_etcd_password(self) -> str | None:
        """The password for `etcd_user`; its file is read at each call, which may raise OSError."""
        if self.etcd_password_file is not None:
            return self.etcd_password_file.read_text(encoding="utf-8").rstrip("\r\n")
        return self.etcd_password


def load_settings(argv: Sequence[str], environ: Mapping[str, str], *, version: str) -> CommandLine[Settings]:
    """The settings of `lockstreamd` as it was started. `--help` and `--version` print and exit.

    Raises:
        SettingError: something is not understood; the message is a sentence that names it.
    """
    return load(
        Settings,
        argv,
        environ,
        prog="lockstreamd",
        prefix="LOCKSTREAM_",
        version=version,
        description="Serve distributed locks over gRPC, with etcd as the only source of truth. "
        "Try it without anything else running: lockstreamd --dev",
        foreign=CLIENT_VARIABLES,
    )
