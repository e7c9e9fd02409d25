"""Logs for people and for machines, and metrics through OpenTelemetry.

What happens per request is counted in plain integers (`Counters`), which OpenTelemetry reads when
it collects; a server without an exporter pays nothing more.
"""

import json
import logging
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter

_log = logging.getLogger(__name__)

# What the standard library puts on a record; everything else was given as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TelemetryError(Exception):
    """Metrics cannot be exported as asked; the message is a sentence that says what to do."""


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message, the extras, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        entry = {
            **_extras(record),
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class TextFormatter(logging.Formatter):
    """One line for people: local time, level, message, `key=value` extras; then any traceback.

    Line breaks and control characters inside a message are shown escaped, so that no text of a
    client can pass for a line of the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and its traceback."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        words = [f"{clock}.{int(record.msecs):03d} {record.levelname:<7} {_plain(record)}"]
        words += [f"{name}={_quoted(value)}" for name, value in _extras(record).items()]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _plain(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)


def _quoted(value: object) -> str:
    text = str(value)
    simple = text and text.isprintable() and not any(c in ' "=' for c in text)
    return text if simple else json.dumps(text, ensure_ascii=not text.isprintable())


def configure_logging(level: str, form: Literal["auto", "text", "json"], stream: TextIO | None = None) -> None:
    """Send every log record, warning and uncaught exception to `stream`, standard error by default.

    Each record is written and flushed at once, so none is lost when the process ends.

    Args:
        level: least severe level to log.
        form: `text` for people, `json` for machines, `auto`: text if `stream` is a terminal.
        stream: where to write.
    """
    stream = sys.stderr if stream is None else stream
    if form == "auto":
        form = "text" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if form == "text" else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    _log.critical("uncaught exception", exc_info=(kind, error, traceback))


def _counts() -> "defaultdict[tuple[str, ...], int]":
    return defaultdict(int)


@dataclass(slots=True)
class Counters:
    """What the server counts since its start. Written by one thread, read by the exporter's.

    A dictionary is keyed by the attributes of a count: `losses["UNPROVEN",] += 1`.
    """

    opened: int = 0
    """Sessions begun here."""
    resumed: int = 0
    """Sessions taken up here."""
    closed: int = 0
    """Sessions closed by their client."""
    queued: int = 0
    """Acquires that had to wait."""
    grants: int = 0
    """Locks granted to sessions of this server."""
    releases: int = 0
    """Locks released by their holder."""
    withdrawn: int = 0
    """Acquires that ended without a grant: try, timeout, cancel."""
    outbox_overflows: int = 0
    """Streams ended because their client did not read."""
    losses: defaultdict[tuple[str, ...], int] = field(default_factory=_counts)
    """Locks lost, by (reason,)."""


class Gauges(Protocol):
    """What a server can be asked for at any moment, from any thread."""

    def sessions(self) -> int:
        """Sessions attached to this server or kept by it."""

    def store_lag(self) -> float:
        """Seconds for which the lock table has not been known to be current."""

    def transactions(self) -> int:
        """Transactions committed since the start."""

    def proposals(self) -> int:
        """Proposals sent in them."""


def register(meter: Meter, counters: Counters, gauges: Gauges) -> None:
    """Show a server on an OpenTelemetry meter.

    Everything is read when it is exported, so that counting costs an addition and nothing more.
    """
    for name, unit, description, read in (
        ("sessions.opened", "session", "Sessions begun", _one(lambda: counters.opened)),
        ("sessions.resumed", "session", "Sessions taken up", _one(lambda: counters.resumed)),
        ("sessions.closed", "session", "Sessions closed by their client", _one(lambda: counters.closed)),
        ("acquires.queued", "acquire", "Acquires that had to wait", _one(lambda: counters.queued)),
        ("acquires.withdrawn", "acquire", "Acquires that ended without a grant", _one(lambda: counters.withdrawn)),
        ("grants", "lock", "Locks granted", _one(lambda: counters.grants)),
        ("releases", "lock", "Locks released", _one(lambda: counters.releases)),
        ("losses", "lock", "Locks lost", _each(counters.losses, _LOSS)),
        ("outbox.overflows", "stream", "Streams of slow clients ended", _one(lambda: counters.outbox_overflows)),
        ("store.transactions", "transaction", "Transactions committed", _one(gauges.transactions)),
        ("store.proposals", "proposal", "Proposals sent in transactions", _one(gauges.proposals)),
    ):
        meter.create_observable_counter(
            f"lockstream.{name}", callbacks=[read], unit=f"{{{unit}}}", description=description
        )
    meter.create_observable_gauge(
        "lockstream.sessions", callbacks=[_one(gauges.sessions)], unit="{session}", description="Sessions kept"
    )
    meter.create_observable_gauge(
        "lockstream.store.lag", callbacks=[_one(gauges.store_lag)], unit="s", description="Age of the lock table"
    )


_LOSS = ("reason",)
_Callback = Callable[[CallbackOptions], Iterable[Observation]]


def _one(read: Callable[[], float]) -> _Callback:
    return lambda _: [Observation(read())]


def _each(counts: "defaultdict[tuple[str, ...], int]", names: tuple[str, ...]) -> _Callback:
    def read(_: CallbackOptions) -> list[Observation]:
        # `list(items())` is one step to other threads, so the server may go on counting.
        return [Observation(count, dict(zip(names, key, strict=True))) for key, count in list(counts.items())]

    return read


def start_export(
    exporter: Literal["none", "console", "otlp"],
    *,
    endpoint: str | None,
    interval: float,
    server_name: str,
    version: str,
) -> Callable[[], None]:
    """Make the global meters export, and return what flushes them at the end.

    Args:
        exporter: `none` leaves them doing nothing, or to the OpenTelemetry set-up of the caller.
        endpoint: the OTLP collector; None leaves it to OpenTelemetry's own variables and defaults.
        interval: seconds between exports.
        server_name: becomes `service.instance.id`.
        version: becomes `service.version`.

    Raises:
        TelemetryError: the exporter is not installed.
    """
    if exporter == "none":
        return lambda: None
    # Only whoever exports pays for importing the SDK.
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - see above
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415 - see above
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - see above

    sink = _console_exporter() if exporter == "console" else _otlp_exporter(endpoint)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(sink, export_interval_millis=interval * 1000)],
        resource=Resource.create(
            {
                "service.name": "lockstream",
                "service.instance.id": server_name,
                "service.version": version,
            }
        ),
    )
    metrics.set_meter_provider(provider)
    return provider.shutdown


def _console_exporter() -> "MetricExporter":
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter  # noqa: PLC0415 - as above

    return ConsoleMetricExporter(out=sys.stderr)


def _otlp_exporter(endpoint: str | None) -> "MetricExporter":
    try:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415 - optional
            OTLPMetricExporter,
        )
    except ImportError:
        raise TelemetryError(
            "exporting over OTLP needs the extra `otlp`: pip install 'lockstream[server,otlp]'"
        ) from None
    return OTLPMetricExporter(endpoint=endpoint)
