"""`lockstreamd`, the server as a program."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from lockstream_server.embedded import EmbeddedEtcd
from lockstream_server.etcd_program import EmbeddedEtcdError
from lockstream_server.option_sources import to_toml
from lockstream_server.options import SettingError
from lockstream_server.settings import Settings, load_settings
from lockstream_server.telemetry import TelemetryError, configure_logging, start_export

EXIT_FAILED = 1
EXIT_USAGE = 2

_log = logging.getLogger("lockstream_server")  # __name__ is "__main__" here


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT, and return the exit code.

    0 after an orderly end, 1 when it could not serve, 2 when a setting is not understood, 128 plus
    the signal's number when a signal came before it served.
    """
    release = _version()
    try:
        command_line = load_settings(sys.argv[1:] if argv is None else argv, os.environ, version=release)
    except SettingError as error:
        sys.stderr.write(f"lockstreamd: {error}\n")
        return EXIT_USAGE
    settings = command_line.settings
    if command_line.print_config:
        sys.stdout.write(to_toml(settings))
        return 0

    configure_logging(settings.log_level, settings.log_format)
    try:
        flush_metrics = start_export(
            settings.otel_exporter,
            endpoint=settings.otel_endpoint,
            interval=settings.otel_interval,
            server_name=settings.server_name,
            version=release,
        )
    except TelemetryError as error:
        sys.stderr.write(f"lockstreamd: {error}\n")
        return EXIT_USAGE
    try:
        return _run(settings)
    finally:
        flush_metrics()


def _run(settings: Settings) -> int:
    # gRPC's older polling saves a thread's waking for every message; see docs/decisions. It reads this when it is
    # loaded, and an operator's own choice stands.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
    # Loading gRPC takes longer than answering `--help` should.
    from lockstream_server.app import serve  # noqa: PLC0415 - see above

    # What lives for long survives the first collections; after that, collecting is for rare cycles only and, at the
    # default pace, would take a tenth of the time under load.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

    async def serve_settings(final: Settings) -> None:
        await serve(final, ready=announce)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, serve_settings))
    except EmbeddedEtcdError as error:
        _log.critical("%s", error)
        return EXIT_FAILED
    except OSError as error:  # an address that cannot be listened on, a file that cannot be read
        _log.critical("cannot serve: %s", error)
        return EXIT_FAILED
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


async def _serve(settings: Settings, serve: Callable[[Settings], Awaitable[None]]) -> None:
    """Serve, with a private etcd around it if the settings say so."""
    if not settings.dev:
        await serve(settings)
        return
    # The server handles the signal once it serves; until then it must not leave etcd behind.
    loop, this_task = asyncio.get_running_loop(), asyncio.current_task()
    if this_task is not None:
        loop.add_signal_handler(signal.SIGTERM, this_task.cancel)
    async with EmbeddedEtcd(settings.etcd_binary, settings.data_dir) as etcd:
        _log.info("private etcd is ready", extra={"endpoint": etcd.endpoint, "pid": etcd.pid})
        # From here on it is a server like any other.
        plain = dataclasses.replace(
            settings, etcd_endpoints=(etcd.endpoint,), dev=False, data_dir=None, etcd_binary=None
        )
        await serve_while_alive(etcd, lambda: serve(plain))


async def serve_while_alive(etcd: EmbeddedEtcd, serve: Callable[[], Awaitable[None]]) -> None:
    """Run `serve` to its end; if `etcd` ends first, cancel it and raise `EmbeddedEtcdError`."""
    serving = asyncio.ensure_future(serve())
    dying = asyncio.create_task(etcd.died())
    try:
        await asyncio.wait([serving, dying], return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            raise dying.result()
        await serving
    finally:
        for task in (serving, dying):
            task.cancel()
        # Whatever `serving` raised has been raised above, or etcd's end explains it.
        await asyncio.wait([serving, dying])


def announce(addresses: list[str]) -> None:
    """Tell where the server listens: a line each on a terminal, a log record each otherwise."""
    for address in addresses:
        if sys.stdout.isatty():
            sys.stdout.write(f"Lockstream is listening on {address}\n")
        else:
            _log.info("listening", extra={"address": address})
    with contextlib.suppress(OSError):  # nobody reads it any more
        sys.stdout.flush()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none for PyPy; asyncio's own loop does as well
    except ImportError:
        return None
    return uvloop.new_event_loop


def _version() -> str:
    try:
        return version("lockstream")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"


if __name__ == "__main__":
    sys.exit(main())
