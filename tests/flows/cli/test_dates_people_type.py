"""Words that are no dates, and dates that no calendar has: named alike in commands, parameters and lists."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.exceptions import ParameterTypeError

from alerting.errors import ConfigurationError
from flows.asked import Asked
from flows.audit import audit
from flows.backfill import backfill
from flows.calendar_dates import FIRST, LAST, calendar_date, listed_dates
from flows.cli.command import main
from flows.planning.requested import Selection, requested_partitions
from scrapers.registry import scraper

NAMED = {
    "9999-12-31": "9999-12-31 is outside the calendar",
    "0001-01-01": "0001-01-01 is outside the calendar",
    "20250203": "20250203 is written without hyphens; write 2025-02-03",
    "2025-02-30": "2025-02-30 is not a day: February 2025 has 28",
    "2025-13-01": "there is no month 13",
    "2025-02-03–2025-02-05": "joins two dates by an en dash; write 2025-02-03..2025-02-05",
    "2025-02-03 - 2025-02-05": "joins two dates by a hyphen",
    "2025-02-03 to 2025-02-05": "joins two dates by 'to'",
    "2025-W05-1": "is not a date",
    "٢٠٢٥-٠٢-٠٣": "is not a date",
    "yesterday": "is not a date",
    "2025\u201102\u201103": r"'2025\u201102\u201103' only looks like a date",
    "\u200e2025-02-03": "write 2025-02-03",
}
each = pytest.mark.parametrize(("text", "told"), NAMED.items(), ids=NAMED)
RANGE = ["2025-02-01", "2025-02-10"]


@each
@pytest.mark.parametrize(
    "command",
    [
        ["plan", "bdl_box_scores", "TEXT", "2025-02-10"],
        ["run", "bdl_box_scores", "2025-02-01", "TEXT", "-r", "test"],
        ["run", "bdl_box_scores", *RANGE, "-r", "test", "--dates", "TEXT"],
        ["plan", "bdl_box_scores", *RANGE, "--dates", "2025-02-03, TEXT"],
        ["run", "bdl_box_scores", *RANGE, "-r", "test", "--param", "exclude=TEXT"],
        ["run", "bdl_box_scores", *RANGE, "-r", "test", "--param", "start_date=TEXT"],
        ["gaps", "bdl_box_scores", "TEXT", "2025-02-10"],
    ],
    ids=["START", "END", "--dates of run", "--dates of plan", "exclude", "start_date", "gaps"],
)
def test_a_command_names_what_is_no_date_and_is_wrong_usage(command, text, told, capsys, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("GAPLESS_PROJECT", "test")
    assert main([word.replace("TEXT", text) for word in command]) == 2
    said = capsys.readouterr()
    assert told in " ".join(f"{said.out}{said.err}".split())
    assert "Traceback" not in said.err


@each
def test_the_parameters_of_a_flow_name_it_by_the_same_words(text, told):
    given: dict[str, Any] = {"source": "bdl_box_scores", "start_date": text, "end_date": "2025-03-01", "reason": "test"}
    for value in {text, int(text) if text.isdecimal() and text.isascii() else text}:
        with pytest.raises(ParameterTypeError, match="start_date") as caught:
            backfill.validate_parameters({**given, "start_date": value})
        assert told in str(caught.value)
        with pytest.raises(ParameterTypeError, match="first_date"):
            audit.validate_parameters({"first_date": value})


@each
@pytest.mark.parametrize("parameter", ["dates", "exclude"])
def test_a_list_of_dates_names_it_before_any_effect(text, told, parameter):
    asked = {"dates": "", "exclude": "", parameter: text}
    with pytest.raises(ConfigurationError, match="Nothing was done") as caught:
        requested_partitions(
            scraper("bdl_box_scores"),
            Selection(dt.date(2025, 2, 1), dt.date(2025, 2, 10), asked["dates"], asked["exclude"]),
            dt.datetime(2026, 1, 10, tzinfo=dt.UTC),
        )
    assert told in str(caught.value)


def test_a_date_far_in_the_future_is_named_and_not_counted_up_to():
    with pytest.raises(ConfigurationError, match="9998-12-31 lies in the future") as caught:
        requested_partitions(
            scraper("bdl_box_scores"), Selection(dt.date(2025, 1, 1), LAST), dt.datetime(2026, 1, 10, tzinfo=dt.UTC)
        )
    assert "end_date=2026-01-0" in caught.value.hint


def test_a_range_of_thousands_of_years_is_refused():
    with pytest.raises(ValueError, match="longer than 100 years"):
        listed_dates("1900-01-01..9998-12-31")


def test_a_range_the_wrong_way_round_is_called_that():
    for text in ("2025-02-05..2025-02-03", "2025-03…2025-02"):
        with pytest.raises(ValueError, match="ends before it begins"):
            listed_dates(text)


def test_dates_as_forms_and_earlier_runs_give_them_are_taken():
    midnight = dt.datetime(2025, 2, 3, tzinfo=dt.UTC)
    for day in ("2025-02-03", dt.date(2025, 2, 3), "2025-02-03T00:00:00Z", "2025-02-03T00:00:00.000Z", midnight):
        assert Asked(source="s", start_date=day).start_date == dt.date(2025, 2, 3)
    assert Asked(source="s", start_date=None).start_date == dt.date.min
    assert listed_dates("2025-02, lakers@2025-02-03..2025-02-04, 2025-02-07…2025-02-08 (2 days)") == [
        "2025-02",
        "lakers@2025-02-03",
        "lakers@2025-02-04",
        "2025-02-07",
        "2025-02-08",
    ]


@pytest.mark.parametrize(
    "given", ["2025-02-02T23:00:00.000Z", "2025-02-03T00:00:00-05:00", "2025-02-03 12:00", "2025-02-03T25:00:00Z"]
)
def test_a_moment_is_no_date_as_it_is_another_one_elsewhere(given):
    with pytest.raises(ParameterTypeError, match=rf"{given[:10]}.* is a moment and not a date; write {given[:10]}, or"):
        backfill.validate_parameters({"source": "s", "start_date": given, "end_date": "2025-03-01", "reason": "test"})


@settings(max_examples=300)
@given(st.text(max_size=30) | st.text("0123456789-–…. ,@()T", max_size=30))
def test_no_text_escapes_as_another_error(text):
    for read in (calendar_date, listed_dates):
        with contextlib.suppress(ValueError):
            found = read(text)
            assert isinstance(found, list) or FIRST <= found <= LAST
