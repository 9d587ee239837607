"""Metrics of a live run by OpenTelemetry: off unless a variable of OTLP says where they go.

``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT``) turns them on, by HTTP; the SDK reads every
other variable of its specification itself (headers, interval, resource attributes). They are read off the run whenever
the SDK exports, and a last time at its end: counting costs the run nothing, and a collector that is away costs it a log
line. The library is the extra ``otel``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from statistics import quantiles
from typing import TYPE_CHECKING

from alerting.errors import PipelineError
from alerting.instant import utc_now
from flows.ledger.entry import Verdict
from flows.ledger.verdicts import count_verdicts
from flows.run.artifacts import now_of
from flows.run.run import Run

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

LOG = logging.getLogger("gapless.metrics")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_TIMEOUT_MS = 5_000
RECENT = dt.timedelta(days=31)
"""A plan that ends earlier has no lag."""
Told = Iterable[tuple[float, dict[str, str]]]
METRICS: dict[str, tuple[str, str, str]] = {
    "gapless.calls": ("counter", "{call}", "Calls to the source"),
    "gapless.units.left": ("gauge", "{unit}", "Calls or credits that the run may still spend before the quota's reset"),
    "gapless.rows.landed": ("counter", "{row}", "Rows landed"),
    "gapless.rows.loaded": ("counter", "{row}", "Rows loaded, by table"),
    "gapless.partitions": ("gauge", "{partition}", "Partitions of the plan, by verdict"),
    "gapless.failures": ("gauge", "{partition}", "Partitions that are not good, by error type"),
    "gapless.queue": ("gauge", "{partition}", "Partitions still to start or verify"),
    "gapless.answer.duration": ("gauge", "s", "Seconds that the source took for a partition, by quantile"),
    "gapless.lag": (
        "gauge",
        "d",
        "Days from the newest verified date to the last settled one; of recent dates",
    ),
}
"""Name -> kind, unit, description; docs and the dashboard use the same."""


def is_on() -> bool:
    """Whether a variable says where metrics go, and none says that there shall be none."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return os.environ.get("OTEL_METRICS_EXPORTER", "otlp") != "none" and any(map(os.environ.get, ENDPOINTS))


@contextlib.contextmanager
def metered(run: Run) -> Iterator[None]:
    """Exports the run's metrics while it lasts, and a last time at its end. Raises nothing of its own."""
    if not is_on():
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
    except ImportError:
        LOG.warning("metrics are asked for and their library is missing: pip install 'gapless[otel]'")
        yield
        return
    about = {"service.name": "gapless", "service.version": run.services.code_version}
    provider = MeterProvider(
        [PeriodicExportingMetricReader(OTLPMetricExporter(), export_timeout_millis=FLUSH_TIMEOUT_MS)],
        Resource.create({**about, "service.instance.id": run.backfill_id}),
        shutdown_on_exit=False,
    )
    _register(provider.get_meter("gapless"), run)
    try:
        yield
    finally:
        provider.shutdown(FLUSH_TIMEOUT_MS)


def _register(meter: Meter, run: Run) -> None:
    from opentelemetry.metrics import Observation

    read = _readers(run)

    def callback(name: str) -> Callable[[CallbackOptions], list[Observation]]:
        def observed(_: CallbackOptions) -> list[Observation]:
            return [Observation(value, {"source": run.source, **labels}) for value, labels in read[name]()]

        return observed

    for name, (kind, unit, description) in METRICS.items():
        make = meter.create_observable_counter if kind == "counter" else meter.create_observable_gauge
        make(name, [callback(name)], unit, description)


def _readers(run: Run) -> dict[str, Callable[[], Told]]:
    return {
        "gapless.calls": lambda: [(run.tally.calls, {})],
        "gapless.units.left": lambda: _units_left(run),
        "gapless.rows.landed": lambda: [(run.tally.rows, {})],
        "gapless.rows.loaded": lambda: _rows_loaded(run),
        "gapless.partitions": lambda: [(count, {"verdict": verdict}) for verdict, count in _verdicts(run).items()],
        "gapless.failures": lambda: _failures(run),
        "gapless.queue": lambda: _queue(run),
        "gapless.answer.duration": lambda: _durations(run),
        "gapless.lag": lambda: _lag(run),
    }


def _units_left(run: Run) -> Told:
    try:
        left = run.kit.quota.left()
    except PipelineError as error:
        LOG.warning("quota left is unknown: %s", error)
        return []
    return [] if left is None else [(left, {})]


def _rows_loaded(run: Run) -> Told:
    rows: Counter[str] = Counter()
    for receipt in run.tally.receipts:
        rows.update({table: one.rows for table, one in receipt.tables.items()})
    return [(count, {"table": table}) for table, count in rows.items()]


def _verdicts(run: Run) -> Counter[str]:
    counts = count_verdicts(run.work.planned, run.ledger.known_of(run.work.planned))
    return Counter({verdict.value: count for verdict, count in counts.items()})


def _failures(run: Run) -> Told:
    known = run.ledger.known_of(run.work.planned).values()
    causes = Counter(entry.error_type for entry in known if not entry.verdict.is_good and entry.error_type)
    return [(count, {"error_type": cause}) for cause, count in causes.items()]


def _queue(run: Run) -> Told:
    at = now_of(run)
    return [(max(0, at.planned - at.skipped - at.handled), {})]


def _durations(run: Run) -> Told:
    answers = run.tally.answers_s
    if len(answers) < 2:
        return [(seconds, {"quantile": "0.5"}) for seconds in answers]
    cuts = quantiles(answers, n=20, method="inclusive")
    return [(cuts[9], {"quantile": "0.5"}), (cuts[18], {"quantile": "0.95"}), (max(answers), {"quantile": "1"})]


def _lag(run: Run) -> Told:
    if run.kit.scraper.step == "whole":
        return []
    partitions, last = run.work.partitions, run.kit.scraper.last_settled(utc_now())
    if max((one.end for one in partitions.values()), default=dt.date.min) + RECENT < last:
        # A backfill of an old season says nothing of how far the source is behind.
        return []
    entries = run.ledger.known_of(partitions).items()
    done = [partitions[key].end for key, entry in entries if entry.verdict in (Verdict.VERIFIED, Verdict.EMPTY_OK)]
    return [((last - max(done)).days + 1, {})] if done else []
