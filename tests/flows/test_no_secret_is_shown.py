"""What a person sees of a failed date outside of the mail: ledger, table of the run, log, state."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from alerting.errors import SourceUnavailable
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from flows import log
from flows.ledger.ledger import Ledger, Verdict
from flows.run import recording as bookkeeping
from flows.run.canary_trial import CanaryTrial
from flows.run.result_artifacts import attention_rows
from flows.run.tally import Tally
from flows.run.work_set import WorkSet

PLANTED = "pl4nted-S3cret-value"
KEY = "2024-01-01"


class Foreign(Exception):
    """What a library raises in a processor of somebody else's making."""


@pytest.mark.parametrize("kind", [Foreign, SourceUnavailable])
def test_a_secret_in_an_error_is_in_no_ledger_entry_and_in_no_table_of_the_run(kind) -> None:
    store = MemoryObjectStore()
    recorded: list[object] = []
    alerts = SimpleNamespace(record_error=recorded.append, flush=lambda *_: True)
    breaker = SimpleNamespace(failed=lambda *_, **__: None, succeeded=lambda *_: None)
    run = SimpleNamespace(
        source="s",
        backfill_id="bf-1",
        kit=SimpleNamespace(
            scraper=SimpleNamespace(has_sites=False, domain="account"),
            purpose="backfill",
        ),
        tally=Tally(),
        work=WorkSet(),
        canary_trial=CanaryTrial(),
        is_window=False,
        services=SimpleNamespace(alerts=alerts),
        ledger=Ledger(store, "s"),
        breaker=breaker,
        obey=lambda *_: None,
        stop=lambda *_: None,
        asked=SimpleNamespace(overrules=False),
        review=None,
        steady_now=utc_now,
    )
    bookkeeping.record_failure(
        run, KEY, kind(f"GET https://x.test/?apiKey={PLANTED} and Bearer {PLANTED}"), "scrape", "w"
    )
    entry = run.ledger.get(KEY)
    rows = attention_rows({KEY: Verdict.FAILED_RETRYABLE.value}, {KEY: entry})
    assert "x.test" in rows[0]["message"], "the rest is shown"
    stored = str(list(store.list(""))) + "".join(store.read(found.name)[0].decode() for found in store.list(""))
    assert PLANTED not in f"{rows} {entry} {recorded} {stored}"


def test_the_log_of_a_run_is_redacted_with_its_tracebacks(monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    of_a_run = logging.LoggerAdapter(logging.getLogger("test.flow_runs"), {"flow_run_id": "1"})
    monkeypatch.setattr(log, "get_run_logger", lambda: of_a_run)
    logger = log.partition_logger()
    assert log.partition_logger() is logger
    try:
        raise Foreign(f"password={PLANTED}")
    except Foreign:
        # As Prefect's engine does it, on the same logger.
        logging.getLogger("test.flow_runs").exception("Encountered an exception: token=%s", PLANTED)
    logger.error("%s", f"apiKey={PLANTED}")
    assert "Encountered an exception" in caplog.text
    assert PLANTED not in caplog.text
    assert sum(1 for record in caplog.records if PLANTED in str(record.__dict__)) == 0
