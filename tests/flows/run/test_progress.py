"""What a person reads of a run: counts, the calendar, what needs attention, the window of the daily run."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

from alerting.run_facts import RunFacts
from flows.daily import settled_window
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.run.progress import final_block, progress_of
from flows.run.result_artifacts import MOST_ROWS, attention_rows, calendar_markdown, result_artifacts
from scrapers.registry import scraper

NOW = dt.datetime(2025, 1, 10, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def entry(key: str, verdict: Verdict, backfill_id: str = "bf-this", **rest: str) -> LedgerEntry:
    return LedgerEntry("bdl_box_scores", key, verdict, backfill_id, NOW, **rest)  # type: ignore[arg-type]


def test_progress_counts_what_was_done_before_apart_from_what_this_run_did() -> None:
    ledger = {
        "2025-01-01": entry("2025-01-01", Verdict.VERIFIED, "bf-earlier"),
        "2025-01-02": entry("2025-01-02", Verdict.VERIFIED),
        "2025-01-03": entry("2025-01-03", Verdict.LANDED),
        "2025-01-04": entry("2025-01-04", Verdict.FAILED_RETRYABLE),
        "2025-01-05": entry("2025-01-05", Verdict.FAILED_RETRYABLE, "bf-earlier"),
    }
    work = {key: key != "2025-01-01" for key in (*ledger, "2025-01-06")}
    at = progress_of(work, ledger, "bf-this", since=NOW + HOUR, elapsed_s=60)
    assert (at.planned, at.skipped, at.verified, at.landed, at.failed) == (6, 1, 1, 1, 1)
    assert at.eta_s == 40.0


def test_dates_that_a_full_run_does_again_are_not_done_by_what_earlier_runs_made_of_them() -> None:
    keys = ("2025-01-01", "2025-01-02", "2025-01-03")
    earlier, live, own = (entry(key, Verdict.VERIFIED, by) for key, by in zip(keys, ("a", "b", "bf-this"), strict=True))
    ledger = {keys[0]: earlier, keys[1]: dataclasses.replace(live, updated_at=NOW + 2 * HOUR), keys[2]: own}
    at = progress_of(dict.fromkeys(keys, True), ledger, "bf-this", since=NOW + HOUR, elapsed_s=60)
    assert (at.skipped, at.verified, at.percent) == (0, 2, 200 / 3)


def test_what_a_run_read_and_found_unchanged_is_done() -> None:
    ledger = {"2025-01-01": entry("2025-01-01", Verdict.VERIFIED, "bf-earlier")}
    at = progress_of({"2025-01-01": True}, ledger, "daily", since=NOW + HOUR, elapsed_s=1, unchanged={"2025-01-01"})
    assert (at.percent, at.handled) == (100.0, 1)


def test_the_calendar_shows_every_date_once_and_names_what_its_colours_mean() -> None:
    calendar = {f"2025-01-{day:02d}": "verified" for day in range(1, 31)} | {"2025-01-31": "failed_permanent"}
    text = calendar_markdown(RunFacts(source="s", verdict="FAILED", calendar=calendar, links={"Record": "gs://b/r/"}))
    assert text.count("🟩") == 30 + 1
    # Without colours: letters, of which a capital needs attention.
    assert any(line.startswith("  Jan ") and "F" in line for line in text.splitlines()), text
    assert text.count("🟥") == 1 + 1
    assert "console.cloud.google.com/storage/browser/b/r/" in text


def test_the_table_holds_only_partitions_without_a_good_verdict() -> None:
    calendar = {"2025-01-01": "verified", "2025-01-02": "failed_retryable", "2025-01-03": "planned"}
    failed = entry("2025-01-02", Verdict.FAILED_RETRYABLE, error_type="SourceUnavailable", error="503")
    rows = attention_rows(calendar, {"2025-01-02": failed})
    assert [(row["partition"], row["error"]) for row in rows] == [
        ("2025-01-02", "SourceUnavailable"),
        ("2025-01-03", ""),
    ]


def test_of_many_partitions_that_need_attention_the_table_has_the_oldest_and_the_number_of_all() -> None:
    keys = [f"{dt.date(2000, 1, 1) + dt.timedelta(days=number)}" for number in range(MOST_ROWS + 5)]
    facts = RunFacts(source="a_b", verdict="FAILED", calendar=dict.fromkeys(reversed(keys), "planned"))
    table = next(one for one in result_artifacts(facts, {}) if one.type == "table")
    assert table.description == f"{MOST_ROWS + 5:,} partitions need attention"
    assert [row["partition"] for row in json.loads(str(table.data))] == keys[:MOST_ROWS]


def test_the_page_of_an_ended_run_has_a_calendar_a_table_of_what_is_missing_and_a_link_to_the_mail() -> None:
    run_id = "0f3a5c1e-7b1d-4f6e-9a55-0123456789ab"
    facts = RunFacts(source="a_b", verdict="ABORTED(user)", flow_run_id=run_id, calendar={"2025-01-01": "landed"})
    landed = {"2025-01-01": entry("2025-01-01", Verdict.LANDED)}
    made = {one.key: one for one in result_artifacts(facts, landed, "http://127.0.0.1:1")}
    assert {key: one.type for key, one in made.items()} == {
        "coverage-a-b": "markdown",
        "attention-a-b": "table",
        "mail-a-b": "markdown",
    }
    assert {str(one.flow_run_id) for one in made.values()} == {run_id}
    assert made["attention-a-b"].description == "1 partition needs attention"
    assert "ABORTED(user)" in str(made["coverage-a-b"].data)
    good = dataclasses.replace(facts, calendar={"2025-01-01": "verified"})
    assert [one.key for one in result_artifacts(good, {})] == ["coverage-a-b"]


def test_the_daily_window_ends_with_the_newest_settled_date_of_the_sources_zone() -> None:
    source = scraper("bdl_box_scores")
    # 10:59 UTC is 05:59 in New York: the game date of the 9th settles at 06:00.
    early = settled_window(source, 3, dt.datetime(2025, 1, 10, 10, 59, tzinfo=dt.UTC))
    late = settled_window(source, 3, dt.datetime(2025, 1, 10, 11, 0, tzinfo=dt.UTC))
    assert [one.key for one in early] == ["2025-01-06", "2025-01-07", "2025-01-08"]
    assert [one.key for one in late] == ["2025-01-07", "2025-01-08", "2025-01-09"]


def test_the_last_lines_of_a_log_name_the_range_only_of_a_source_that_is_asked_by_date():
    dated = RunFacts(backfill_id="bf-1", source="s", start_date="2025-01-01", end_date="2025-01-31")
    assert final_block(dated).splitlines()[0] == "s 2025-01-01…2025-01-31 (bf-1)"
    assert final_block(RunFacts(backfill_id="bf-2", source="civic_band")).splitlines()[0] == "civic_band (bf-2)"
