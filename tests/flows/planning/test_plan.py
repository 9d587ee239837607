"""The plan is a pure function of dates, ledger and mode."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_source import PlainSource

from alerting.errors import ConfigurationError
from flows.ledger.entry import NARROWED
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.parameters import Mode
from flows.planning.plan import Path, PlanRules, make_plan
from flows.planning.requested import Selection, requested_partitions
from scrapers.partition import Partition, partitions_between, windows

NOW, DAY = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC), dt.timedelta(days=1)


class Toy(PlainSource):
    zone = "America/New_York"


def entry(key: str, verdict: Verdict) -> LedgerEntry:
    return LedgerEntry("toy", key, verdict, "bf-0", NOW)


def ask(start: str, end: str, dates: str = "") -> list[Partition]:
    return requested_partitions(Toy(), Selection(dt.date.fromisoformat(start), dt.date.fromisoformat(end), dates), NOW)


@given(st.dictionaries(st.integers(0, 30), st.sampled_from(list(Verdict))))
def test_every_partition_has_exactly_one_path_and_good_ones_cost_nothing(verdicts: dict[int, Verdict]) -> None:
    partitions = ask("2025-01-01", "2025-01-31")
    ledger = {partitions[at].key: entry(partitions[at].key, verdict) for at, verdict in verdicts.items()}
    plan = make_plan(Toy(), partitions, ledger)
    assert plan.keys == [partition.key for partition in partitions]
    for item in plan.items:
        known = ledger.get(item.partition.key)
        assert (item.path is Path.SKIP) == (known is not None and known.verdict.is_good)
        # Of rows that wait for approval in no review any more, the payload is left.
        landed = (Verdict.LANDED, Verdict.LOADED, Verdict.STAGED)
        assert (item.path is Path.RELOAD) == (known is not None and known.verdict in landed)


def test_retry_failed_plans_exactly_the_failed_dates() -> None:
    partitions = ask("2025-01-01", "2025-01-05")
    ledger = {
        "2025-01-01": entry("2025-01-01", Verdict.VERIFIED),
        "2025-01-02": entry("2025-01-02", Verdict.FAILED_RETRYABLE),
        "2025-01-04": entry("2025-01-04", Verdict.PARTIAL),
        "2025-01-05": replace(entry("2025-01-05", Verdict.LANDED), error_type="LoadRejected"),
    }
    plan = make_plan(Toy(), partitions, ledger, PlanRules(retry_failed=True))
    assert [partition.key for partition in plan.to_fetch] == ["2025-01-02", "2025-01-04"]
    assert [partition.key for partition in plan.to_reload] == ["2025-01-05"], "what could not be loaded is landed"
    ledger["2025-01-05"] = entry("2025-01-05", Verdict.LANDED)
    assert make_plan(Toy(), partitions, ledger, PlanRules(retry_failed=True)).to_reload == []


@pytest.mark.parametrize(
    ("start", "end", "dates", "said"),
    [
        ("2025-01-31", "2025-01-01", "", "is after end_date"),
        ("2025-01-30", "2025-02-01", "", "not over and settled"),
        ("2030-01-01", "2030-01-01", "", "none of them is settled"),
        ("2020-01-01", "2020-02-01", "", "begins at 2024-01-01"),
        ("2025-01-01", "2025-01-05", "2025-01-09", "lies outside"),
        ("2025-01-01", "2025-01-05", "2025-01-04..2025-01-02", "dates:"),
    ],
)
def test_a_bad_range_is_refused_before_any_effect(start: str, end: str, dates: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match="Nothing was done") as refused:
        ask(start, end, dates)
    assert said in str(refused.value)


def test_an_exclusion_that_could_exclude_nothing_is_refused_and_one_outside_of_the_range_is_not() -> None:
    def keys(exclude: str) -> list[str]:
        selected = Selection(dt.date(2025, 1, 1), dt.date(2025, 1, 3), exclude=exclude)
        return [one.key for one in requested_partitions(Toy(), selected, NOW)]

    assert keys("2024-12-25, 2025-01-02") == ["2025-01-01", "2025-01-03"]
    with pytest.raises(ConfigurationError, match="exclude: 2025-01 is no day of toy"):
        keys("2025-01")


def test_dates_as_a_mail_writes_them_narrow_the_range() -> None:
    found = ask("2025-01-01", "2025-01-31", "2025-01-03, 2025-01-07..2025-01-09")
    assert [partition.key for partition in found] == ["2025-01-03", "2025-01-07", "2025-01-08", "2025-01-09"]


def test_a_date_that_has_ended_but_not_settled_is_refused_with_the_instant_it_settles() -> None:
    with pytest.raises(ConfigurationError, match="2025-02-01 11:00 UTC"):
        requested_partitions(
            Toy(),
            Selection(dt.date(2025, 1, 31), dt.date(2025, 1, 31)),
            dt.datetime(2025, 2, 1, 10, 59, tzinfo=dt.UTC),
        )


@given(st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)), st.integers(0, 800))
def test_windows_hold_every_partition_once_and_in_order(start: dt.date, days: int) -> None:
    partitions = partitions_between(start, start + dt.timedelta(days=days), "UTC")
    grouped = windows(partitions)
    assert [partition for window in grouped for partition in window] == partitions
    assert all(len(window) <= (31 if days < 200 else 366) for window in grouped)
    assert days < 31 or len(grouped) <= (8 if days < 200 else 2 + days // 365)


@pytest.mark.parametrize(
    ("start", "end", "echo"),
    [
        ("2024-02-28", "2024-03-01", "2024-02-28 to 2024-03-01 inclusive, America/New_York, 3 days"),
        ("2024-03-10", "2024-03-10", "2024-03-10 to 2024-03-10 inclusive, America/New_York, 1 day"),
        ("2024-11-02", "2024-11-04", "2024-11-02 to 2024-11-04 inclusive, America/New_York, 3 days"),
        ("2024-01-31", "2024-02-01", "2024-01-31 to 2024-02-01 inclusive, America/New_York, 2 days"),
        ("2024-01-01", "2024-12-31", "2024-01-01 to 2024-12-31 inclusive, America/New_York, 366 days"),
    ],
)
def test_the_range_is_said_in_words_over_leap_days_month_ends_and_changes_of_the_clock(
    start: str, end: str, echo: str
) -> None:
    plan = make_plan(Toy(), ask(start, end), {}, PlanRules(settled_up_to=Toy.last_settled(NOW)))
    assert plan.date_echo() == f"{echo}; last settled date 2025-01-31"
    assert len(plan.items) == int(echo.split()[-2])


@pytest.mark.parametrize(("step", "last_date"), [("day", "2025-01-31"), ("month", "2025-01-31")])
def test_an_unsettled_range_is_refused_with_the_end_date_that_would_do(step: str, last_date: str) -> None:
    class Source(Toy):
        pass

    Source.step = step  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="is not over and settled before") as raised:
        requested_partitions(Source(), Selection(dt.date(2024, 12, 1), dt.date(2025, 3, 1)), NOW)
    assert raised.value.hint == f"end_date={last_date}"
    requested_partitions(Source(), Selection(dt.date(2024, 12, 1), dt.date.fromisoformat(last_date)), NOW)


class Forgetful(Toy):
    horizon = dt.timedelta(days=10)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("known", [None, *Verdict])
def test_beyond_its_horizon_a_source_is_not_asked_and_what_is_landed_or_done_stays(
    mode: Mode, known: Verdict | None
) -> None:
    old, young = ask("2025-01-01", "2025-01-01")[0], ask("2025-01-25", "2025-01-25")[0]
    ledger = {}
    if known:
        ledger = {old.key: LedgerEntry("toy", old.key, known, "bf-0", NOW, attempt="a1", receipt_id="r1")}
    plan = make_plan(
        Forgetful(), [old, young], ledger, PlanRules(mode=mode, earliest=Forgetful.earliest(NOW), since=NOW)
    )
    (item, young_item) = plan.items
    assert item.path is not Path.FETCH
    if known and known.is_good and known is not Verdict.UNAVAILABLE:
        assert item.path in (Path.SKIP, Path.REPARSE, Path.RECOUNT)
    if known is None and mode in (Mode.INCREMENTAL, Mode.FULL):
        assert (item.path, item.why) == (
            Path.UNAVAILABLE,
            "older than the source answers for, which begins at 2025-01-22",
        )
        assert "1 older than the source answers for" in plan.describe()
        assert young_item.path is Path.FETCH


@pytest.mark.parametrize(
    ("known", "path"),
    [
        # Its last verified state stands where a recount says so.
        ({"verdict": Verdict.FAILED_RETRYABLE, "verified_at": NOW, "loaded": {"toys": 2}}, Path.RECOUNT),
        ({"verdict": Verdict.PAUSED, "verified_at": NOW, "loaded": {"toys": 2}}, Path.RECOUNT),
        ({"verdict": Verdict.BLOCKED, "verified_at": NOW, "loaded": {"toys": 0}}, Path.RECOUNT),
        ({"verdict": Verdict.UNAVAILABLE, "verified_at": NOW, "loaded": {"toys": 2}}, Path.RECOUNT),
        # Landed since, or never right: it is loaded (again), and judged by that.
        ({"verdict": Verdict.FAILED_PERMANENT, "verified_at": NOW - 9 * DAY, "loaded": {"toys": 2}}, Path.RELOAD),
        ({"verdict": Verdict.PARTIAL, "loaded": {"toys": 2}}, Path.RELOAD),
        ({"verdict": Verdict.PARTIAL, "verified_at": NOW, "loaded": {"toys": 2}}, Path.RELOAD),
        ({"verdict": Verdict.FAILED_PERMANENT}, Path.RELOAD),
        ({"verdict": Verdict.SHRUNK, "verified_at": NOW - 9 * DAY, "loaded": {"toys": 2}}, Path.LEAVE),
        # The parts that it was not asked for cannot be had any more, and nobody calls it done.
        (
            {"verdict": Verdict.PARTIAL, "error_type": NARROWED, "error": "landed for gb", "verified_at": NOW},
            Path.LEAVE,
        ),
        # Nothing is there.
        ({"verdict": Verdict.FAILED_RETRYABLE, "attempt": ""}, Path.UNAVAILABLE),
        ({"verdict": Verdict.UNAVAILABLE, "attempt": ""}, Path.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("mode", [Mode.INCREMENTAL, Mode.FULL])
def test_what_failed_and_is_too_old_by_now_is_unavailable_only_where_nothing_of_it_is_there(
    mode: Mode, known: dict[str, Any], path: Path
) -> None:
    (old,) = ask("2025-01-01", "2025-01-01")
    known = {"attempt": f"{NOW - DAY:%Y%m%dT%H%M%SZ}-1f", "evidence": "older than the source answers for", **known}
    ledger = {old.key: LedgerEntry("toy", old.key, backfill_id="bf-0", updated_at=NOW, **known)}
    (item,) = make_plan(Forgetful(), [old], ledger, PlanRules(mode=mode, earliest=Forgetful.earliest(NOW))).items
    assert item.path is path
    assert "older than the source answers for" in item.why


def test_a_date_that_was_too_old_is_asked_for_once_the_horizon_reaches_it() -> None:
    (old,) = ask("2025-01-01", "2025-01-01")
    rules = PlanRules(earliest=Forgetful.earliest(NOW))
    why = make_plan(Forgetful(), [old], {}, rules).items[0].why
    ledger = {old.key: LedgerEntry("toy", old.key, Verdict.UNAVAILABLE, "bf-0", NOW, evidence=why)}
    assert make_plan(Forgetful(), [old], ledger, rules).items[0].path is Path.UNAVAILABLE
    assert make_plan(Toy(), [old], ledger).items[0].path is Path.FETCH


@pytest.mark.parametrize("known", [Verdict.VERIFIED, Verdict.LANDED])
def test_a_full_run_that_begins_takes_nothing_for_its_own_whatever_the_clock_of_another_machine_said(
    known: Verdict,
) -> None:
    (one,) = ask("2025-01-01", "2025-01-01")
    ledger = {one.key: LedgerEntry("toy", one.key, known, "bf-0", NOW + dt.timedelta(minutes=10), attempt="a1")}
    rules = PlanRules(mode=Mode.FULL, since=NOW)
    assert make_plan(Toy(), [one], ledger, rules).items[0].path is Path.FETCH
    resumed = make_plan(Toy(), [one], ledger, replace(rules, goes_on=True)).items[0].path
    assert resumed is (Path.SKIP if known.is_good else Path.RELOAD)


@pytest.mark.parametrize("name", ["dates", "exclude"])
@pytest.mark.parametrize("left_empty", [",", ",,", " , ", ", ,,"])
def test_a_list_of_which_only_commas_are_left_is_refused_and_not_all_there_is(name: str, left_empty: str) -> None:
    selected = Selection(dt.date(2025, 1, 1), dt.date(2025, 1, 5), **{name: left_empty})
    with pytest.raises(ConfigurationError, match=f"{name}: no date in"):
        requested_partitions(Toy(), selected, NOW)
