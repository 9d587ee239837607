"""One log event per partition, with its verdict; errors are short there and whole elsewhere."""

from __future__ import annotations

import datetime as dt
import json
import logging
from typing import TYPE_CHECKING

import pytest

from alerting.redaction import register_secret
from flows.ledger.events import ERROR_CHARS, verdict_event
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.planning.stored_plan import run_prefix

if TYPE_CHECKING:
    from .conftest import Place, Ran

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)


def events(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "gapless.partition"]


def test_k25_n16_every_partition_of_a_run_has_one_event_with_its_verdict(
    place: Place, ran: Ran, caplog: pytest.LogCaptureFixture
) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-11"]}, {"kind": "null_id", "dates": ["2025-01-12"]})
    with caplog.at_level(logging.INFO, "gapless"):
        run, _ = ran("2025-01-10", "2025-01-13")
    fields = [record.gapless for record in events(caplog)]
    ledger = run.ledger.refresh()
    assert {one["partition"]: one["verdict"] for one in fields} == {
        key: entry.verdict.value for key, entry in ledger.items()
    }
    assert len(fields) == 4
    assert {one["backfill_id"] for one in fields} == {run.backfill_id}
    lines = {record.gapless["partition"]: record.getMessage() for record in events(caplog)}
    assert lines["2025-01-10"].startswith("✓ 2025-01-10 verified nba_bdl_games=")
    assert lines["2025-01-11"].startswith("✗ 2025-01-11 failed_retryable error_type=SourceUnavailable stage=scrape")

    # The event is cut; what the record keeps is not.
    whole = [
        json.loads(line) for line in place.store.read(f"{run_prefix(run.backfill_id)}errors.jsonl")[0].splitlines()
    ]
    by_date = {one["partition"]: one["message"] for one in whole}
    told = {one["partition"]: one["error"] for one in fields if "error" in one}
    assert told["2025-01-11"].startswith(by_date["2025-01-11"])
    assert len(told["2025-01-12"]) == ERROR_CHARS < len(by_date["2025-01-12"])


def test_no_secret_is_in_an_event(caplog: pytest.LogCaptureFixture) -> None:
    register_secret("verysecret-0123456789")
    entry = LedgerEntry(
        "s", "d", Verdict.BLOCKED, "bf-1", NOW, error_type="E", error="key verysecret-0123456789 is dead"
    )
    with caplog.at_level(logging.INFO, "gapless"):
        verdict_event(entry, "scrape")
    (record,) = events(caplog)
    assert "verysecret" not in record.getMessage() + json.dumps(record.gapless)
