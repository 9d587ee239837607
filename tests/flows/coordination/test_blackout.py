"""Blackout windows are wall-clock times in a zone."""

from __future__ import annotations

import datetime as dt

import pytest

from alerting.errors import ConfigurationError
from flows.coordination.blackout import blackouts_of, parse_blackout, paused_until

GAMES = parse_blackout("18:00-23:00 America/Los_Angeles")


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2025-01-15T17:59:59-08:00", None),
        ("2025-01-15T18:00:00-08:00", "2025-01-15T23:00:00-08:00"),
        ("2025-01-15T22:59:59-08:00", "2025-01-15T23:00:00-08:00"),
        ("2025-01-15T23:00:00-08:00", None),
        ("2025-07-15T18:00:00-07:00", "2025-07-15T23:00:00-07:00"),
    ],
)
def test_a_run_pauses_inside_and_knows_the_end(now: str, until: str | None) -> None:
    assert paused_until([GAMES], at(now)) == (at(until) if until else None)


def test_a_window_over_midnight_belongs_to_the_day_it_begins_on() -> None:
    friday_night = parse_blackout("Fri 22:00-02:00 Europe/Berlin")
    assert friday_night.ends_at(at("2025-01-18T01:00:00+01:00")) == at("2025-01-18T02:00:00+01:00")
    assert friday_night.ends_at(at("2025-01-17T01:00:00+01:00")) is None


def test_a_window_over_a_clock_change_ends_by_the_clock_on_the_wall() -> None:
    night = parse_blackout("23:00-05:00 America/New_York")
    assert night.ends_at(at("2025-03-09T00:30:00-05:00")) == at("2025-03-09T05:00:00-04:00")


def test_windows_of_all_sources_and_of_one_add_up() -> None:
    settings = {"*": ["01:00-02:00 UTC"], "nba": ["01:30-03:00 UTC"]}
    assert paused_until(blackouts_of(settings, "nba"), at("2025-01-01T01:45:00+00:00")) == at(
        "2025-01-01T03:00:00+00:00"
    )
    assert paused_until(blackouts_of(settings, "other"), at("2025-01-01T02:30:00+00:00")) is None


@pytest.mark.parametrize("text", ["18-23 UTC", "18:00-23:00", "18:00-23:00 Mars/Olympus", "25:00-26:00 UTC", "Fry 1"])
def test_a_window_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        parse_blackout(text)
