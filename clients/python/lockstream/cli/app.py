"""The commands, their parameters and their help."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

import click

from lockstream import LockstreamError
from lockstream.cli import exits, holding, listings
from lockstream.cli.parameters import (
    DEFAULT_SERVERS,
    SERVERS_VARIABLE,
    acquire_options,
    duration,
    json_option,
    server_option,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        # Returns an exit code when the command or an option such as --help ended the program.
        return int(program.main(arguments, prog_name="lockstream", standalone_mode=False) or 0)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "lockstream"
        exits.say(f"{error.format_message().removesuffix('.')}; see {command} --help")
        return exits.USAGE
    except click.Abort:  # Ctrl-C before a command could handle it
        return exits.SIGNALLED + signal.SIGINT
    except exits.Exit as error:
        exits.say(str(error))
        return error.code
    except BrokenPipeError:
        # The reader has enough, as `head` does. What is still buffered goes nowhere, without a complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@click.group(epilog=exits.HELP, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.option(
    "-s",
    "--server",
    "servers",
    metavar="SERVERS",
    envvar=SERVERS_VARIABLE,
    show_envvar=True,
    default=DEFAULT_SERVERS,
    show_default=True,
    help="Where the servers are; may also follow the command.",
)
@click.version_option(package_name="lockstream")
@click.pass_context
def program(context: click.Context, servers: str) -> None:
    """Hold distributed locks, and look at who holds them."""
    context.obj = servers


@program.command(epilog=exits.RUN_HELP)
@server_option
@acquire_options
@click.option(
    "--kill-after",
    type=duration,
    default="5s",
    show_default=True,
    help="When the lock is lost: the time from SIGTERM to SIGKILL.",
)
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    servers: str, wait: float, shared: bool, ttl: float | None, kill_after: float, name: str, command: tuple[str, ...]
) -> int:
    """Run COMMAND while holding the lock NAME.

    Write -- before COMMAND. It finds NAME in LOCKSTREAM_NAME and the fencing token in LOCKSTREAM_TOKEN: have what the
    lock protects refuse a token older than the newest it saw.

    SIGINT, SIGTERM and SIGHUP are passed on to COMMAND. When the lock is lost, COMMAND and all that it started get
    SIGTERM, and SIGKILL after --kill-after. When this process is killed, so is COMMAND (on Linux).
    """
    claim = holding.Claim(name=name, servers=servers, shared=shared, wait=wait, ttl=ttl)
    return _run(holding.run(claim, command, kill_after=kill_after), servers)


@program.command(epilog=exits.HELP)
@server_option
@acquire_options
@click.option("--for", "hold_for", type=duration, help="Release it after this long.  [default: hold until a signal]")
@json_option("Print name, token and session as JSON.")
@click.argument("name")
def hold(
    servers: str, wait: float, shared: bool, ttl: float | None, hold_for: float | None, as_json: bool, name: str
) -> int:
    """Hold the lock NAME until interrupted.

    Prints the fencing token as soon as the lock is held. SIGINT (Ctrl-C), SIGTERM and SIGHUP release it; that is the
    way to end, and the exit code is 0. A signal that comes while waiting ends with 128 plus its number.
    """
    claim = holding.Claim(name=name, servers=servers, shared=shared, wait=wait, ttl=ttl)
    return _run(holding.hold(claim, duration=hold_for, as_json=as_json, output=sys.stdout), servers)


@program.command()
@server_option
@json_option("Print a list of locks with their entries as JSON.")
@click.argument("prefix", default="")
def ls(servers: str, as_json: bool, prefix: str) -> None:
    """List the locks that are held or awaited and whose names begin with PREFIX."""
    _run(listings.ls(servers, prefix, as_json=as_json), servers)


@program.command()
@server_option
@json_option("Print the lock with its entries as JSON; a free lock has none.")
@click.argument("name")
def show(servers: str, as_json: bool, name: str) -> None:
    """Show the lock NAME: who holds it, who waits, and for how long."""
    _run(listings.show(servers, name, as_json=as_json), servers)


@program.command()
@server_option
@json_option("Print a list of sessions with what they hold and await as JSON.")
def sessions(servers: str, as_json: bool) -> None:
    """List the live sessions."""
    _run(listings.sessions(servers, as_json=as_json), servers)


acquire = click.Command(
    "acquire",
    params=hold.params,
    callback=hold.callback,
    help=hold.help,
    short_help="The same as hold.",
    epilog=hold.epilog,
)
program.add_command(acquire)


def _run(command: Coroutine[object, object, T], servers: str) -> T:
    """Run a command to its end, with the client's errors as exits."""
    try:
        return asyncio.run(command)
    except LockstreamError as error:
        raise exits.failure(error, servers) from error
