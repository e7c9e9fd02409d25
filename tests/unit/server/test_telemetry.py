"""The two forms of the log, and what a collector sees of the counters."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.metrics import get_meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from lockstream_server.telemetry import (
    Counters,
    JsonFormatter,
    TelemetryError,
    TextFormatter,
    register,
    start_export,
)

SERVER_PATH = str(Path(__file__).parents[3] / "server")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.telemetry")
    logger.propagate = False
    yield logger
    logger.handlers.clear()


def lines(logger: logging.Logger, formatter: logging.Formatter) -> io.StringIO:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger.handlers = [handler]
    return stream


def test_json_has_the_extras_and_the_exception_as_one_field(logger: logging.Logger) -> None:
    out = lines(logger, JsonFormatter())
    try:
        raise RuntimeError("no\nluck")  # noqa: TRY301 - a traceback is needed
    except RuntimeError:
        logger.exception("it %s", "failed", extra={"session": "00ab", "path": Path("/x")})
    (line,) = out.getvalue().splitlines()
    entry = json.loads(line)
    assert entry["message"] == "it failed"
    assert entry["level"] == "error"
    assert entry["logger"] == "tests.telemetry"
    assert entry["time"].endswith("Z")
    assert (entry["session"], entry["path"]) == ("00ab", "/x")
    assert "RuntimeError: no\nluck" in entry["exception"]


def test_text_shows_the_extras_and_escapes_what_a_client_wrote(logger: logging.Logger) -> None:
    out = lines(logger, TextFormatter())
    logger.warning("lost\nfake", extra={"name_": "a b", "token": 7, "empty": ""})
    (line,) = out.getvalue().splitlines()
    assert line.endswith('WARNING lost\\nfake name_="a b" token=7 empty=""')


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": SERVER_PATH},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_off_a_terminal_everything_is_json_and_nothing_is_lost_at_exit() -> None:
    done = run(
        "import logging, warnings\n"
        "from lockstream_server.telemetry import configure_logging\n"
        "configure_logging('info', 'auto')\n"
        "logging.debug('unseen')\n"
        "warnings.warn('careful')\n"
        "logging.info('last words')\n"
        "raise ValueError('the end')\n"
    )
    warned, info, uncaught = map(json.loads, done.stderr.splitlines())
    assert "careful" in warned["message"]
    assert info["message"] == "last words"
    assert uncaught["level"] == "critical"
    assert "ValueError: the end" in uncaught["exception"]


def collected(reader: InMemoryMetricReader) -> dict[str, dict[str, float]]:
    """Values by instrument and attributes."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: {
            ",".join(str(value) for value in (point.attributes or {}).values()): getattr(
                point, "value" if hasattr(point, "value") else "count"
            )
            for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


class FixedGauges:
    """A server at one moment."""

    def sessions(self) -> int:
        return 4

    def store_lag(self) -> float:
        return 0.25

    def transactions(self) -> int:
        return 2

    def proposals(self) -> int:
        return 24


def test_a_collector_sees_the_counters_and_the_gauges() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    counters = Counters()
    register(provider.get_meter("test"), counters, FixedGauges())
    counters.losses["LEASE_EXPIRED",] += 1
    counters.losses["UNPROVEN",] += 2
    counters.grants += 3
    counters.outbox_overflows += 1
    seen = collected(reader)
    provider.shutdown()
    assert seen["lockstream.losses"] == {"LEASE_EXPIRED": 1, "UNPROVEN": 2}
    assert seen["lockstream.grants"] == {"": 3}
    assert seen["lockstream.releases"] == {"": 0}
    assert seen["lockstream.outbox.overflows"] == {"": 1}
    assert seen["lockstream.sessions"] == {"": 4}
    assert seen["lockstream.store.lag"] == {"": 0.25}
    assert seen["lockstream.store.transactions"] == {"": 2}
    assert seen["lockstream.store.proposals"] == {"": 24}


def test_without_an_exporter_the_same_calls_do_nothing() -> None:
    stop = start_export("none", endpoint=None, interval=1, server_name="a", version="1")
    register(get_meter("test"), Counters(), FixedGauges())
    stop()


def test_the_console_exporter_writes_the_last_counts_at_the_end() -> None:
    done = run(
        "from opentelemetry.metrics import get_meter\n"
        "from lockstream_server.telemetry import Counters, register, start_export\n"
        "stop = start_export('console', endpoint=None, interval=60, server_name='a', version='1')\n"
        "class Idle: sessions = store_lag = transactions = proposals = lambda self: 0\n"
        "register(get_meter('lockstream'), Counters(grants=3), Idle())\n"
        "stop()\n"
    )
    assert done.returncode == 0, done.stderr
    assert "lockstream.grants" in done.stderr
    assert '"service.instance.id": "a"' in done.stderr


def test_a_missing_otlp_exporter_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "opentelemetry.exporter.otlp.proto.grpc.metric_exporter"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TelemetryError, match="extra `otlp`"):
        start_export("otlp", endpoint=None, interval=1, server_name="a", version="1")
