"""Connection strings: where the servers are and which options go with them.

Pure; nothing is looked up.

host:port,host2:port              TCP; the port may be left out
unix:///run/lockstream.sock       a Unix socket
lockstream://host,host2?ttl=10s   TCP with options; lockstreams:// is the same over TLS
local:                            a server in this process, for tests and single-process tools
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote

from lockstream._errors import ConfigError
from lockstream._options import DURATIONS, OPTION_NAMES, TLS_OPTIONS

DEFAULT_PORT = 7420

OptionValue: TypeAlias = str | float

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?\]")
_PORT = re.compile(r"[0-9]{1,5}")
_MAX_PORT = 65535


@dataclass(frozen=True)
class Target:
    """Where to connect to. `endpoints` are gRPC targets, in the order in which they are tried."""

    endpoints: tuple[str, ...]
    tls: bool = False
    local: bool = False
    options: dict[str, OptionValue] = field(default_factory=dict)


def parse(text: str) -> Target:
    """Read a connection string. ConfigError, naming the part that is not understood."""
    if text == "local:":
        return Target((), local=True)
    if text.startswith("local:"):
        raise ConfigError(f"'local:' takes nothing after it, not {text.removeprefix('local:')!r}")
    if "://" not in text or text.startswith("unix:"):
        return Target(_endpoints(text))
    scheme, _, rest = text.partition("://")
    if scheme not in ("lockstream", "lockstreams"):
        raise ConfigError(f"unknown scheme {scheme!r}: use lockstream://, lockstreams://, unix: or local:")
    hosts, _, query = rest.partition("?")
    tls = scheme == "lockstreams"
    return Target(_endpoints(hosts), tls=tls, options=_options(query, tls=tls))


def _endpoints(text: str) -> tuple[str, ...]:
    return tuple(_endpoint(part) for part in text.split(","))


def _endpoint(text: str) -> str:
    if text.startswith("unix:"):
        return _unix(text)
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host += bracket
        colon, port = rest[:1], rest[1:]
        valid = _IPV6.fullmatch(host) is not None and colon in ("", ":")
    else:
        host, colon, port = text.partition(":")
        valid = _HOST.fullmatch(host) is not None
    if not host:
        raise ConfigError(f"empty host in {text!r}" if text else "empty host")
    if not valid:
        raise ConfigError(f"bad host {host!r} in {text!r}")
    if not colon:
        return f"{host}:{DEFAULT_PORT}"
    if not (_PORT.fullmatch(port) and 0 < int(port) <= _MAX_PORT):
        raise ConfigError(f"bad port {port!r} in {text!r}: it is a number from 1 to {_MAX_PORT}")
    return f"{host}:{int(port)}"


def _unix(text: str) -> str:
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        path = path[2:]
        if path and not path.startswith("/"):
            raise ConfigError(f"bad path {path!r} in {text!r}: after unix:// it begins with a slash")
    if not path:
        raise ConfigError(f"empty path in {text!r}")
    return f"unix:{path}"


def _options(query: str, *, tls: bool) -> dict[str, OptionValue]:
    options: dict[str, OptionValue] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if name not in OPTION_NAMES:
            raise ConfigError(f"unknown option {name!r}: known are {', '.join(sorted(OPTION_NAMES))}")
        if name in options:
            raise ConfigError(f"option {name!r} is given twice")
        if not equals or not value:
            raise ConfigError(f"option {name!r} has no value")
        if name in TLS_OPTIONS and not tls:
            raise ConfigError(f"option {name!r} needs TLS: use lockstreams://")
        options[name] = _duration(name, value) if name in DURATIONS else _text(name, value)
    return options


def _duration(name: str, value: str) -> float:
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ConfigError(f"bad value {value!r} of option {name!r}: write it like 10s, 500ms or 2m")
    return float(match[1]) * _UNITS[match[2]]


def _text(name: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(f"bad value {value!r} of option {name!r}: it is not UTF-8") from None
