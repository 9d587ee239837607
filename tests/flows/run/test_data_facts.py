"""What the mail says of the data, from ledger entries and receipts."""

from __future__ import annotations

import datetime as dt

from alerting.run_facts import RunFacts
from alerting.summary import render
from alerting.summary_rows import table_state
from flows.ledger.entry import LedgerEntry, Verdict
from flows.run.data_facts import drift_facts, provisional_facts, slowest_answer, table_facts
from processors.receipt import Receipt

TABLES = ("games", "players")
AT = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)


def entry(day: int, verdict: Verdict, landed: tuple[int, int], loaded: tuple[int, int], **rest) -> LedgerEntry:
    rows = {"landed": dict(zip(TABLES, landed, strict=True)), "loaded": dict(zip(TABLES, loaded, strict=True))}
    return LedgerEntry("s", f"2024-01-{day:02d}", verdict, "bf-1", AT, **rows, **rest)


def test_identical_repeats_of_a_verified_date_are_no_missing_rows():
    entries = [
        entry(1, Verdict.VERIFIED, (5, 100), (5, 98), expected=5),
        entry(2, Verdict.VERIFIED, (6, 120), (6, 120), expected=6),
    ]
    games, players = table_facts(TABLES, entries)
    assert (games.expected, games.landed, games.loaded, games.verified, games.repeats) == (11, 11, 11, 11, 0)
    assert (players.expected, players.landed, players.loaded, players.repeats) == (None, 220, 218, 2)
    assert [table_state(table) for table in (games, players)] == ["", ""]
    text = render(RunFacts(source="s", outcome="OK", planned=2, tables=[games, players]), []).text
    assert "COMPLETE -" in text
    assert "repeats not loaded       players 2" in text


def test_rows_of_a_failed_date_are_missing_and_their_date_is_named():
    entries = [entry(1, Verdict.VERIFIED, (5, 100), (5, 100)), entry(2, Verdict.PARTIAL, (6, 120), (6, 90))]
    _, players = table_facts(TABLES, entries)
    assert table_state(players) == "30 not loaded"
    assert players.mismatching == ["2024-01-02"]


def test_a_landed_date_that_waits_for_its_load_is_no_mismatch():
    _, players = table_facts(TABLES, [entry(1, Verdict.LANDED, (5, 100), (0, 0))])
    assert players.mismatching == []
    assert table_state(players) == "100 not loaded"


def test_old_rows_that_were_kept_of_a_shrunk_date_are_not_too_many():
    entries = [entry(1, Verdict.VERIFIED, (5, 100), (5, 100)), entry(2, Verdict.SHRUNK, (1, 10), (9, 300))]
    _, players = table_facts(TABLES, entries)
    assert (players.landed, players.loaded, players.mismatching, table_state(players)) == (100, 100, [], "")


def test_what_the_source_did_not_announce_for_every_date_is_not_expected():
    entries = [entry(1, Verdict.VERIFIED, (5, 9), (5, 9), expected=5), entry(2, Verdict.VERIFIED, (6, 9), (6, 9))]
    assert table_facts(TABLES, entries)[0].expected is None


def test_dates_that_are_not_final_are_ranges_with_what_becomes_of_them():
    entries = [entry(day, Verdict.FAILED_RETRYABLE, (1, 1), (0, 0), error_type="NotSettled") for day in (3, 4, 9)]
    (told,) = provisional_facts([*entries, entry(1, Verdict.VERIFIED, (1, 1), (1, 1))]).items()
    assert told == ("2024-01-03…2024-01-04, 2024-01-09", "not final at the source; a later run fetches it again")
    assert provisional_facts([]) == {}


def test_fields_that_earlier_runs_knew_are_no_drift():
    receipts = [Receipt.model_construct(unknown_fields={"games.weather": 3, "games.old": 5}) for _ in range(2)]
    assert drift_facts(receipts, {"games.old"}) == ["games.weather: sent by the source, taken by no column (6 rows)"]


def test_the_slowest_answer_stands_against_the_usual_one():
    assert slowest_answer([0.2, 0.2, 4.06]) == "an answer of the source: 4.1 s (half of them under 0.2 s)"
    assert slowest_answer([9.0]) == ""


def test_no_step_is_called_slow_that_took_less_than_a_second():
    assert slowest_answer([0.2, 0.99]) == ""
    assert slowest_answer([0.2, 1.0]).startswith("an answer of the source: 1.0 s")
