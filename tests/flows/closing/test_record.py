"""The record of a run, whatever number of errors it had."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.local_store import FileObjectStore
from alerting.run_facts import RunFacts
from flows.closing.record import keep_record, render_record

OBJECTS, IN_EACH = 40, 200
BOUND_BYTES = 4 * 2**20
"""A third of what the lines are together."""


def told(number: int) -> Incident:
    return Incident(
        source="s",
        partition="2025-01-03",
        error_type="SourceUnavailable",
        message=f"{number} was refused",
        hint="word " * 300,
        traceback="not in the record",
    )


@pytest.mark.long
def test_8_000_errors_are_recorded_line_by_line_in_the_memory_of_a_few(tmp_path: Path) -> None:
    store = FileObjectStore(tmp_path)
    journal = IncidentJournal(store)
    for begin in range(0, OBJECTS * IN_EACH, IN_EACH):
        incidents = [told(number) for number in range(begin, begin + IN_EACH)]
        journal.append("bf-1", "w", 1, incidents, writer="w", repeats=False)
    tracemalloc.start()
    try:
        keep_record(store, "runs/backfill=bf-1/", RunFacts(backfill_id="bf-1", source="s", verdict="FAILED"))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    data = store.read("runs/backfill=bf-1/errors.jsonl")[0]
    assert peak_bytes < BOUND_BYTES < len(data) / 3
    lines = [json.loads(line) for line in data.splitlines()]
    assert [int(line["message"].split()[0]) for line in lines] == list(range(OBJECTS * IN_EACH))
    assert not any("traceback" in line for line in lines)
    assert "SourceUnavailable in run" in store.read("runs/backfill=bf-1/record.md")[0].decode()


def test_a_run_without_errors_has_an_empty_list_of_them(tmp_path: Path) -> None:
    store = FileObjectStore(tmp_path)
    keep_record(store, "runs/backfill=bf-1/", RunFacts(backfill_id="bf-1", source="s", verdict="COMPLETE"))
    assert store.read("runs/backfill=bf-1/errors.jsonl")[0] == b""


def test_the_bytes_of_a_dry_run_stand_beside_those_billed_as_what_they_are_and_not_as_an_estimate() -> None:
    facts = RunFacts(
        backfill_id="bf-1", calls=3, bigquery_bytes=20 * 2**20, estimate={"calls": 2, "bigquery_bytes": 688}
    )
    lines = render_record(facts, []).splitlines()
    assert "* calls 3 (estimate 2)" in lines
    assert "* bigquery_bytes 20,971,520 billed (the dry run counted 688 of existing rows)" in lines
