"""The commands, their parameters and their help."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, TypeVar, Unpack

import click

from lockstream import LockstreamError
from lockstream.cli import breaking, exits, holding, listings, watching
from lockstream.cli.parameters import (
    DEFAULT_SERVERS,
    SERVERS_VARIABLE,
    acquire_options,
    duration,
    json_option,
    reason_options,
    server_option,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from lockstream.cli.parameters import Asked

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


EXAMPLES = """\b
Examples:
  lockstream run reports/daily -- make reports
  lockstream run --permits 2 --limit 5 gpus -- make model
  lockstream run accounts/1 --and accounts/2 -- make transfer
  lockstream hold --value 10.0.0.7:8080 --max-hold 1h scheduler
  lockstream ls --contended reports/
  lockstream show --history reports/daily
  lockstream watch --prefix reports/
  lockstream break reports/daily --token 1234 --reason "stuck since noon"

"""


@click.group(
    epilog=EXAMPLES + exits.HELP, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False
)
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
def run(servers: str, kill_after: float, name: str, command: tuple[str, ...], **asked: Unpack[Asked]) -> int:
    """Run COMMAND while holding the lock NAME.

    Write -- before COMMAND. It finds NAME in LOCKSTREAM_NAME (several, by --and, one a line) and the fencing token in
    LOCKSTREAM_TOKEN: have what the lock protects refuse a token older than the newest it saw.

    SIGINT, SIGTERM and SIGHUP are passed on to COMMAND. When the lock is lost, COMMAND and all that it started get
    SIGTERM, and SIGKILL after --kill-after. When this process is killed, so is COMMAND (on Linux). What runs as another
    user, as after sudo, cannot be ended like this.
    """
    claim = _claim(name, servers, asked)
    return _run(holding.run(claim, command, kill_after=kill_after), servers)


@program.command(epilog=exits.HELP)
@server_option
@acquire_options
@click.option("--for", "hold_for", type=duration, help="Release it after this long.  [default: hold until a signal]")
@json_option("Print name, token and session as JSON.")
@click.argument("name")
def hold(servers: str, hold_for: float | None, as_json: bool, name: str, **asked: Unpack[Asked]) -> int:
    """Hold the lock NAME until interrupted.

    Prints the fencing token as soon as the lock is held. SIGINT (Ctrl-C), SIGTERM and SIGHUP release it; that is the
    way to end, and the exit code is 0. A signal that comes while waiting ends with 128 plus its number.
    """
    claim = _claim(name, servers, asked)
    return _run(holding.hold(claim, duration=hold_for, as_json=as_json, output=sys.stdout), servers)


@program.command()
@server_option
@json_option("Print a list of locks with their entries as JSON.")
@click.option("--held", is_flag=True, help="Only locks that are held, or still taken.")
@click.option("--contended", is_flag=True, help="Only locks for which somebody waits.")
@click.option("--session", "session_id", metavar="ID", default="", help="Only locks that it holds or awaits.")
@click.argument("prefix", default="")
def ls(servers: str, as_json: bool, held: bool, contended: bool, session_id: str, prefix: str) -> None:
    """List the locks that are held or awaited and whose names begin with PREFIX."""
    listing = listings.ls(servers, prefix, held=held, contended=contended, session_id=session_id, as_json=as_json)
    _run(listing, servers)


@program.command()
@server_option
@json_option("Print the lock with its entries as JSON; a free lock has none.")
@click.option("--history", is_flag=True, help="Show also who was evicted within the last hour, why and by whom.")
@click.argument("name")
def show(servers: str, as_json: bool, history: bool, name: str) -> None:
    """Show the lock NAME: who holds it, who waits, and for how long."""
    _run(listings.show(servers, name, history=history, as_json=as_json), servers)


@program.command()
@server_option
@json_option("Print a list of sessions with what they hold and await as JSON.")
@click.option("--client", "client_name", metavar="NAME", default="", help="Only sessions of the client of this name.")
@click.option("--on", "attached_to", metavar="NAME", default="", help="Only sessions of the server of this name.")
def sessions(servers: str, as_json: bool, client_name: str, attached_to: str) -> None:
    """List the live sessions."""
    listing = listings.sessions(servers, client_name=client_name, attached_to=attached_to, as_json=as_json)
    _run(listing, servers)


@program.command()
@server_option
@json_option("Print JSON, one object a line: a snapshot, then each change.")
@click.option("--prefix", help="Watch all locks whose names begin with this.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="REVISION",
    default=0,
    help="Print the changes since this revision, instead of how things stand.",
)
@click.argument("name", required=False)
def watch(servers: str, as_json: bool, prefix: str | None, after: int, name: str | None) -> int:
    """Print what happens to the lock NAME, or to many.

    Without NAME and --prefix, to all of them. Prints who holds and who waits, then whatever happens, until a signal
    (Ctrl-C) ends it; the exit code is then 0. Each line begins with the revision of etcd, and no change is left out,
    also when the connection breaks meanwhile.
    """
    if name is not None and prefix is not None:
        raise click.UsageError("watch a NAME or a --prefix, not both")
    return _run(watching.watch(servers, name=name, prefix=prefix, after=after, as_json=as_json), servers)


@program.command("break")
@server_option
@json_option("Print the holds that were broken as JSON.")
@click.option(
    "--token",
    type=click.IntRange(min=1),
    metavar="TOKEN",
    help="Break the hold with this fencing token, and no newer one.",
)
@click.option("--any", "any_hold", is_flag=True, help="Break whatever hold there is.")
@reason_options
@click.argument("name")
def break_(servers: str, as_json: bool, token: int | None, any_hold: bool, reason: str, actor: str, name: str) -> None:
    """Take the lock NAME away from whoever holds it.

    The holder is told, and the next in the queue is granted. What the holder was doing goes on: only what refuses its
    fencing token keeps it out.
    """
    if (token is None) != any_hold:
        raise click.UsageError("state which hold to break, by either --token or --any")
    _run(breaking.break_lock(servers, name, token=token, reason=reason, actor=actor, as_json=as_json), servers)


@program.command("end-session")
@server_option
@json_option("Print the record of it as JSON.")
@reason_options
@click.argument("session_id", metavar="ID")
def end_session(servers: str, as_json: bool, reason: str, actor: str, session_id: str) -> None:
    """End the session ID, and free all that it holds without a lock delay."""
    _run(breaking.end_session(servers, session_id, reason=reason, actor=actor, as_json=as_json), servers)


acquire = click.Command(
    "acquire",
    params=hold.params,
    callback=hold.callback,
    help=hold.help,
    short_help="The same as hold.",
    epilog=hold.epilog,
)
program.add_command(acquire)


def _claim(name: str, servers: str, asked: Asked) -> holding.Claim:
    if asked["also"] and (asked["value"] or asked["max_hold"] is not None or asked["lock_delay"] is not None):
        raise click.UsageError("--and does not go with --value, --max-hold and --lock-delay")
    return holding.Claim(name=name, servers=servers, **asked)


def _run(command: Coroutine[object, object, T], servers: str) -> T:
    """Run a command to its end, with the client's errors as exits."""
    try:
        return asyncio.run(command)
    except LockstreamError as error:
        raise exits.failure(error, servers) from error
