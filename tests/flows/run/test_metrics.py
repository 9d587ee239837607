"""Metrics of a run, as a collector gets them by OTLP; none without its variable, and no run that ends for them."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows.run import metrics
from flows.run.metrics import METRICS, is_on, metered
from flows.run.run import Run

if TYPE_CHECKING:
    from .conftest import Place, Ran

pytest.importorskip("opentelemetry.sdk")
SOURCE = "bdl_box_scores"
PROJECT_DIR = Path(__file__).parents[3]


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what is exported, as the SDK sends it."""

    taken: list[bytes]

    def do_POST(self) -> None:
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Bodies that a collector got; the variable of its address is set."""
    found: list[bytes] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Taking", (Collector,), {"taken": found}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield found
    server.shutdown()
    server.server_close()


def points(body: bytes) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Metric name -> labels -> value."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in (metric.sum if metric.HasField("sum") else metric.gauge).data_points:
                    labels = tuple(sorted((one.key, one.value.string_value) for one in point.attributes))
                    value = point.as_int if point.HasField("as_int") else point.as_double
                    found.setdefault(metric.name, {})[labels] = value
    return found


def test_a_collector_hears_calls_rows_failures_queue_latency_and_lag(
    place: Place, ran: Ran, taken: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-05"]})
    close = Run.close

    def closed(run: Run) -> None:
        with metered(run):
            pass
        close(run)

    # The flow holds its run in `metered`; here the last export is what counts.
    monkeypatch.setattr(Run, "close", closed)
    run, facts = ran("2025-01-03", "2025-01-06")
    found = points(taken[-1])
    mine = ("source", SOURCE)
    assert found["gapless.calls"] == {(mine,): facts.calls}
    assert found["gapless.rows.loaded"][mine, ("table", "nba_bdl_games")] == sum(
        entry.loaded.get("nba_bdl_games", 0) for entry in place.ledger.entries().values()
    )
    assert found["gapless.partitions"] == {
        (mine, ("verdict", "failed_retryable")): 1,
        (mine, ("verdict", "verified")): 3,
    }
    assert found["gapless.failures"] == {(("error_type", "SourceUnavailable"), mine): 1}
    assert found["gapless.queue"] == {(mine,): 0}
    assert found["gapless.answer.duration"][("quantile", "1"), mine] > 0
    assert "gapless.lag" not in found, "a year ago says nothing of the source's lag"
    assert set(found) <= set(METRICS)
    monkeypatch.setattr(metrics, "utc_now", lambda: dt.datetime(2025, 1, 10, 12, tzinfo=dt.UTC))
    last = place.services.source_kit(SOURCE).scraper.last_settled(metrics.utc_now())
    assert metrics._lag(run) == [((last - dt.date(2025, 1, 6)).days, {})]


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_METRICS_EXPORTER": "none"}, False),
    ],
)
def test_nothing_is_exported_unless_a_variable_says_where(
    variables: dict[str, str], on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_on() is on


def test_the_dashboard_asks_for_what_is_exported_and_the_page_tells_of_all_of_it() -> None:
    dashboard = json.loads((PROJECT_DIR / "deployments/grafana/gapless.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", []))
    exported = {prometheus_name(name) for name in METRICS}
    assert set(re.findall(r"gapless_\w+", asked)) == exported
    page = (PROJECT_DIR / "docs/metrics.md").read_text()
    assert set(re.findall(r"`(gapless\.[a-z.]+)`", page)) == set(METRICS)


def prometheus_name(name: str) -> str:
    """As OpenTelemetry's rules for Prometheus make it: unit and `_total` behind the name."""
    kind, unit, _ = METRICS[name]
    unit = {"s": "_seconds", "d": "_days"}.get(unit, "")
    return name.replace(".", "_") + unit + ("_total" if kind == "counter" else "")


def test_a_collector_that_is_away_costs_no_run(place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    run, _ = ran("2025-01-03", "2025-01-03")
    done: list[Any] = []
    with metered(run):
        done.append(run)
    assert done == [run]
