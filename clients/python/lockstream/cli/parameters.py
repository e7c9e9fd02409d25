"""The types of the command line's parameters, and the options that several commands share."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TypedDict, TypeVar

import click

from lockstream.cli.breaking import this_user

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., object]")

DEFAULT_SERVERS = "localhost:7420"
SERVERS_VARIABLE = "LOCKSTREAM_SERVERS"

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Seconds from `10s`, `500ms`, `2m`, `1h`, or plain seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a duration: write it like 10s, 500ms or 2m")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def wait(text: str) -> float:
    """Seconds from a duration; infinity from `forever`."""
    return math.inf if text == "forever" else duration(text)


def server_option(command: Function) -> Function:
    """`--server` of one command; without it that of the program counts, then the environment."""
    return click.option(
        "-s",
        "--server",
        "servers",
        metavar="SERVERS",
        callback=lambda ctx, _param, value: value or ctx.obj or DEFAULT_SERVERS,
        help="Where the servers are: host:port,host2, unix:///path or lockstream://host?option=value."
        f"  [env var: {SERVERS_VARIABLE}; default: {DEFAULT_SERVERS}]",
    )(command)


class Asked(TypedDict):
    """What `acquire_options` gives to a command. Durations are in seconds."""

    wait: float
    shared: bool
    permits: int | None
    limit: int | None
    also: tuple[str, ...]
    value: str
    max_hold: float | None
    lock_delay: float | None
    ttl: float | None


def acquire_options(command: Function) -> Function:
    """How to ask for a lock: the options of `Asked`."""
    for decorate in reversed(_ACQUIRE_OPTIONS):
        command = decorate(command)
    return command


_ACQUIRE_OPTIONS = (
    click.option(
        "--wait",
        type=wait,
        metavar="DURATION|forever",
        default="forever",
        show_default=True,
        help="How long to wait for the lock; 0 does not wait.",
    ),
    click.option("--shared", is_flag=True, help="Hold it together with other shared holders."),
    click.option("--permits", type=int, metavar="N", help="Take N of its permits.  [default: 1, with --limit]"),
    click.option("--limit", type=int, metavar="L", help="How many permits it has; everybody has to say the same."),
    click.option(
        "--and",
        "also",
        metavar="NAME",
        multiple=True,
        help="Acquire this lock too, in the same way, all at once or none; may be repeated.",
    ),
    click.option("--value", metavar="TEXT", default="", help="Show this to whoever looks at the lock."),
    click.option("--max-hold", type=duration, help="Lose the lock when it is held for longer than this."),
    click.option(
        "--lock-delay",
        type=duration,
        help="Keep it taken for this long should it be lost because this process is gone.",
    ),
    click.option(
        "--ttl",
        type=duration,
        help="How long the lock outlives this process, or its connection.  [default: the server's, 10s]",
    ),
)


def reason_options(command: Function) -> Function:
    """Why something is done to others, and who does it: `--reason`, `--actor`."""
    for decorate in (
        click.option("--actor", default=this_user, show_default="user@host", help="Who does this."),
        click.option("--reason", required=True, help="Why; the holder is told, and it is kept for an hour."),
    ):
        command = decorate(command)
    return command


def json_option(text: str) -> Callable[[Function], Function]:
    """`--json`, for programs that read the output."""
    return click.option("--json", "as_json", is_flag=True, help=text)
