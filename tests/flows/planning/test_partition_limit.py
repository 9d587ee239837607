"""A range whose days could fill a table beyond BigQuery's limit of partitions is told before its calls."""

from __future__ import annotations

import datetime as dt

from flows.ledger.entry import LedgerEntry, Verdict
from flows.planning.partition_limit import partition_limit_note
from flows.planning.plan import Path, Plan, PlannedPartition
from processors.registry import processor
from scrapers.partition import Partition

FIRST = dt.date(1990, 1, 1)


def note(asked: int, filled: int = 0, source: str = "bdl_box_scores") -> str:
    days = [Partition.day(FIRST + dt.timedelta(days=offset), "UTC") for offset in range(asked + filled)]
    items = [PlannedPartition(day, Path.SKIP if at < filled else Path.FETCH, "") for at, day in enumerate(days)]
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    entries = {
        day.key: LedgerEntry(source, day.key, Verdict.VERIFIED, "b", now, loaded={"bdl_games": 1})
        for day in days[:filled]
    }
    plan = Plan(source, days[0].start, days[-1].start, "UTC", tuple(items))
    return partition_limit_note(processor(source), plan, entries)


def test_days_up_to_95_percent_of_the_limit_are_no_news():
    assert note(9_500) == ""
    assert note(500, filled=9_000) == ""


def test_a_range_that_could_pass_the_limit_names_the_tables_and_what_becomes_of_the_rest():
    said = note(501, filled=9_000)
    assert said.startswith("9,000 days of this range have rows and 501 more may get some")
    assert all(table.name in said for table in processor("bdl_box_scores").tables)
    assert "its payloads stay landed" in said


def test_days_of_which_nothing_is_asked_and_nothing_known_do_not_count():
    assert note(0, filled=9_501).startswith("9,501 days")


def test_tables_with_a_partition_a_month_have_room():
    assert note(12_000, source="civic_band") == ""
