"""The whole history of a source: one state for every partition that anybody ever asked for, by the ledger alone."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flows.ledger.entry import LedgerEntry, Verdict
from flows.truth.whole_history import History, history_of, within
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.rests import Rests

NOW = dt.datetime(2025, 3, 2, 12, tzinfo=dt.UTC)
RUN = "bf-0f3a5c1e7b1d"


class Daily(Scraper):
    source = "toy"
    title = "Toy"
    zone = "UTC"
    base_url = "https://toy.test"
    tables = ("toys",)
    floor = dt.date(2025, 1, 5)
    rate = Rate()
    rests = Rests(longest_days=5, season=((1, 1), (2, 15)))

    def first_request(self, partition: Partition) -> Request:
        raise NotImplementedError

    def inspect(self, partition: Partition, page: Page) -> Findings:
        raise NotImplementedError


class Monthly(Daily):
    step = "month"
    rests = None


class Whole(Daily):
    step = "whole"
    entities = ("alameda", "berkeley")
    variants = ("agendas", "minutes")


def entry(key: str, verdict: Verdict = Verdict.VERIFIED, **facts: Any) -> tuple[str, LedgerEntry]:
    rows = {"toys": 3} if verdict is Verdict.VERIFIED else {"toys": 0}
    return key, LedgerEntry("toy", key, verdict, RUN, NOW, attempt="a", landed=rows, **facts)


def days(first: str, last: str) -> list[str]:
    start, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    return [str(start + dt.timedelta(days=offset)) for offset in range((end - start).days + 1)]


def of(history: History, *keys: str) -> list[str]:
    return [history.states.get(key, "") for key in keys]


def test_missing_is_what_somebody_asked_for_and_nobody_verified() -> None:
    known = dict([entry("2025-01-05"), entry("2025-01-09", Verdict.FAILED_RETRYABLE, error_type="SourceUnavailable")])
    history = history_of(Daily(), known, days("2025-01-05", "2025-01-12"), NOW)
    assert of(history, "2025-01-05", "2025-01-06", "2025-01-09") == ["verified", "planned", "failed_retryable"]
    # Planned by nobody, and not settled on the second of March.
    assert of(history, "2025-01-13", "2025-03-02") == ["", ""]
    assert (len(history.cells), history.missing) == (8 + 4, 7)
    assert history.headline == "5 of 12 partitions done, 4 of them not at the source, 2025-01-01 to 2025-01-12"
    largest, other = history.attention()
    assert (largest.state, largest.ranges) == ("planned", "2025-01-06…2025-01-08, 2025-01-10…2025-01-12")
    assert (other.why, other.ranges, other.last_run) == ("SourceUnavailable", "2025-01-09", RUN)


def test_before_the_first_date_is_no_gap_and_neither_is_what_the_source_answers_for_no_more() -> None:
    class Short(Daily):
        horizon = dt.timedelta(days=30)

    history = history_of(Short(), dict([entry("2025-02-10")]), days("2025-01-20", "2025-02-10"), NOW)
    assert of(history, "2025-01-01", "2025-01-04") == ["before_first"] * 2
    assert of(history, "2025-01-20", "2025-01-30") == ["unavailable"] * 2
    assert of(history, "2025-01-31", "2025-02-10") == ["planned", "verified"]


def test_what_was_before_the_first_date_is_missing_as_soon_as_the_first_date_is_earlier() -> None:
    told = "before the source's first date 2025-02-01"
    known = dict(entry(day, Verdict.UNAVAILABLE, evidence=told) for day in ("2025-01-04", "2025-01-06"))
    history = history_of(Daily(), known, (), NOW)
    assert of(history, "2025-01-04", "2025-01-06") == ["before_first", "planned"]


def test_a_setting_or_a_daily_run_asks_for_every_date_since() -> None:
    daily = LedgerEntry("toy", "2025-02-20", Verdict.VERIFIED, "daily-0f3a5c1e7b1d", NOW)
    history = history_of(Daily(), {"2025-02-20": daily}, (), NOW)
    assert of(history, "2025-02-19", "2025-02-21", "2025-03-01") == ["", "planned", "planned"]
    history = history_of(Daily(), {}, (), NOW, audit_from=dt.date(2025, 2, 27))
    assert of(history, "2025-02-26", "2025-02-27", "2025-03-01", "2025-03-02") == ["", "planned", "planned", ""]


def test_an_empty_date_is_proven_a_rest_out_of_season_or_doubted_where_the_source_never_rests_so_long() -> None:
    known = dict(entry(day, evidence="count 0") for day in days("2025-01-05", "2025-03-01"))
    known |= dict(entry(day, Verdict.EMPTY_OK, evidence="count 0") for day in days("2025-01-10", "2025-01-12"))
    known |= dict(entry(day, Verdict.EMPTY_OK, evidence="count 0") for day in days("2025-02-20", "2025-03-01"))
    history = history_of(Daily(), known, (), NOW)
    assert of(history, "2025-01-11", "2025-02-25") == ["empty_ok", "rest"]
    assert not history.missing
    known |= dict(entry(day, Verdict.EMPTY_OK, evidence="count 0") for day in days("2025-01-10", "2025-01-20"))
    history = history_of(Daily(), known, (), NOW)
    assert of(history, "2025-01-11", "2025-02-25") == ["doubted", "rest"]
    assert "never rests for more than 5 days" in history.attention()[0].why


def test_months_and_several_entities_have_a_cell_for_each() -> None:
    history = history_of(Monthly(), dict([entry("2025-01")]), ("2025-01", "2025-02"), NOW)
    assert history.states == {"2025-01": "verified", "2025-02": "planned"}
    known = dict([entry("lakers@2025-01-06"), entry("celtics@2025-01-07", Verdict.BLOCKED)])
    history = history_of(Daily(), known, (), NOW)
    assert of(history, "lakers@2025-01-06", "celtics@2025-01-07", "lakers@2025-01-01") == [
        "verified",
        "blocked",
        "before_first",
    ]
    assert list(history.by_entity) == ["celtics", "lakers"]


def test_a_month_that_is_not_over_is_missed_by_nobody() -> None:
    now, audit_from = dt.datetime(2025, 3, 20, 12, tzinfo=dt.UTC), dt.date(2025, 1, 1)
    known = dict([entry("2025-01"), entry("2025-02")])
    history = history_of(Monthly(), known, (), now, audit_from=audit_from)
    assert history.states == {"2025-01": "verified", "2025-02": "verified"}
    assert not within(history, Monthly(), audit_from, dt.date(2025, 12, 31), now).missing


def test_whole_entities_are_there_as_soon_as_the_source_declares_them() -> None:
    history = history_of(Whole(), dict([entry("alameda~agendas")]), (), NOW)
    assert history.states == {
        "alameda~agendas": "verified",
        "alameda~minutes": "planned",
        "berkeley~agendas": "planned",
        "berkeley~minutes": "planned",
    }
    assert history.headline == "1 of 4 partitions done"


def test_a_source_of_which_nothing_is_known_says_so() -> None:
    assert history_of(Daily(), {}, (), NOW).headline == "nothing is known yet"


def test_a_period_misses_every_entity_that_the_source_has_and_a_former_one_until_its_last_date_only() -> None:
    class Shops(Daily):
        has_series = True
        entities = ("asked", "never")

    shops = Shops()
    known = dict([entry("asked@2025-01-06"), entry("closed@2025-01-06")])
    history = history_of(shops, known, ("closed@2025-01-05",), NOW)
    found = within(history, shops, dt.date(2025, 1, 6), dt.date(2025, 1, 7), NOW)
    assert found.states == {
        "asked@2025-01-06": "verified",
        "asked@2025-01-07": "planned",
        "closed@2025-01-06": "verified",
        "never@2025-01-06": "planned",
        "never@2025-01-07": "planned",
    }
