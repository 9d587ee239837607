"""What a plan would read in BigQuery, by its own dry runs: in the plan, in the mail, at a price that does not grow."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from alerting.instant import utc_now
from alerting.summary import render
from flows.asked import Asked
from flows.planning.plan import Plan
from flows.planning.planner import plan_asked
from flows.planning.query_bytes import DryRun, EarlyDryRun, plan_dry_run
from processors.warehouse import BigQueryWarehouse

from ..conftest import SOURCE


def asked_of_bigquery(place: Any, first: str, last: str, mode: str = "full") -> DryRun:
    asked = Asked.model_validate({"source": SOURCE, "start_date": first, "end_date": last, "mode": mode})
    return plan_dry_run(place.services, SOURCE, plan_asked(place.services, asked, utc_now()).plan)


def test_the_mail_shows_the_dry_run_bytes_of_what_was_there_beside_what_was_billed(place, ran):
    place.fill("2025-01-03", 2)
    weighed = asked_of_bigquery(place, "2025-01-03", "2025-01-04")
    _, facts = ran("2025-01-03", "2025-01-04", mode="reprocess", weighed=True)
    assert weighed.size_bytes
    assert weighed.size_bytes > 1_000
    assert facts.estimate == {"bigquery_bytes": weighed.size_bytes}
    (line,) = (one for one in render(facts, []).text.splitlines() if "BigQuery bytes" in one)
    billed, before = re.fullmatch(
        r" *BigQuery bytes +([\d.]+) MB billed; the dry run counted ([\d.]+) kB.*", line
    ).groups()
    assert float(before) == pytest.approx(weighed.size_bytes / 1_000, abs=0.1)
    assert float(billed) >= 10 * 2**20 / 1e6


def test_a_plan_of_ten_years_asks_bigquery_no_more_often_than_a_plan_of_a_date(place, monkeypatch):
    sent: list[str] = []
    dry_run = BigQueryWarehouse.dry_run

    def counted(self: BigQueryWarehouse, sql: str, parameters: Any = None) -> int:
        sent.append(sql)
        return dry_run(self, sql, parameters)

    monkeypatch.setattr(BigQueryWarehouse, "dry_run", counted)
    asked_of_bigquery(place, "2025-01-03", "2025-01-03")
    of_a_date = list(sent)
    sent.clear()
    asked_of_bigquery(place, "2015-01-01", "2024-12-31")
    # They are asked side by side.
    assert sorted(sent) == sorted(of_a_date)
    assert len(set(sent)) == len(sent)


def test_a_plan_of_one_date_reads_the_same_bytes_whatever_else_the_tables_hold(place):
    place.fill("2025-01-03", 1)
    before = asked_of_bigquery(place, "2025-01-03", "2025-01-03")
    assert before.partitions == 1
    assert before.replace_bytes
    assert before.recount_bytes
    place.fill("2023-01-02", 2)  # further away than the same game can be
    assert asked_of_bigquery(place, "2025-01-03", "2025-01-03") == before


def test_a_plan_that_only_counts_again_says_what_that_reads(place):
    place.fill("2025-01-03", 1)
    whole = asked_of_bigquery(place, "2025-01-03", "2025-01-03")
    assert asked_of_bigquery(place, "2025-01-03", "2025-01-03", "validate") == DryRun(1, 0, whole.recount_bytes)


def test_where_bigquery_does_not_answer_the_bytes_are_unknown_and_the_plan_stands(place):
    place.services.warehouse.drop_dataset()
    found = asked_of_bigquery(place, "2025-01-03", "2025-01-04")
    assert found == DryRun(2, None, None)
    assert found.promised() == {}
    assert found.describe() == "dry run    no response from BigQuery about 2 partitions"


def test_a_dry_run_begun_early_is_that_of_the_plan_only_while_the_plan_is_the_same(place):
    def plan(last: str) -> Plan:
        asked = Asked.model_validate({"source": SOURCE, "start_date": "2025-01-03", "end_date": last})
        return plan_asked(place.services, asked, utc_now()).plan

    never = asyncio.sleep(0)
    early = EarlyDryRun(plan("2025-01-04"), never)
    assert early.is_of(plan("2025-01-04"))
    assert not early.is_of(plan("2025-01-05"))
    place.fill("2025-01-03", 1)
    # Done by another run meanwhile.
    assert not early.is_of(plan("2025-01-04"))
    never.close()
