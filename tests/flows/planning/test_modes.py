"""Modes, order and narrowing: which path every partition gets."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_source import PlainSource

from flows.asked import Asked, AskedFamily
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.parameters import Mode, Order
from flows.planning.plan import Path, PlanRules, make_plan
from flows.planning.requested import Selection, requested_partitions
from scrapers.partition import partitions_between

NOW, HOUR = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC), dt.timedelta(hours=1)
KEYS = [f"2025-01-{day:02d}" for day in range(1, 11)]


class Toy(PlainSource):
    floor = dt.date(2024, 12, 31)


PARTITIONS = partitions_between(dt.date(2025, 1, 1), dt.date(2025, 1, 10), "UTC")


def entry(key: str, verdict: Verdict, **rest: Any) -> LedgerEntry:
    return LedgerEntry("toy", key, verdict, "bf-0", rest.pop("at", NOW), **rest)


ledgers = st.dictionaries(
    st.sampled_from(KEYS),
    st.tuples(st.sampled_from(list(Verdict)), st.booleans(), st.booleans()),
).map(
    lambda known: {
        key: entry(key, verdict, attempt="a1" if landed else "", receipt_id="r1" if landed and loaded else "")
        for key, (verdict, landed, loaded) in known.items()
    }
)


@given(ledgers)
def test_full_fetches_every_date_again(ledger: dict[str, LedgerEntry]) -> None:
    plan = make_plan(Toy(), PARTITIONS, ledger, PlanRules(mode=Mode.FULL))
    assert len(plan.to_fetch) == len(PARTITIONS)


@given(ledgers)
def test_reprocess_never_plans_a_call_and_takes_all_that_is_landed(ledger: dict[str, LedgerEntry]) -> None:
    plan = make_plan(Toy(), PARTITIONS, ledger, PlanRules(mode=Mode.REPROCESS))
    assert plan.to_fetch == []
    assert [one.key for one in plan.to_reload] == sorted(key for key, known in ledger.items() if known.attempt)


@given(ledgers)
def test_validate_plans_neither_calls_nor_loads(ledger: dict[str, LedgerEntry]) -> None:
    plan = make_plan(Toy(), PARTITIONS, ledger, PlanRules(mode=Mode.VALIDATE))
    assert plan.to_fetch == plan.to_reload == []
    assert [one.key for one in plan.to_recount] == sorted(key for key, known in ledger.items() if known.receipt_id)


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.REPROCESS, Mode.VALIDATE])
def test_a_run_that_goes_on_after_a_pause_does_nothing_twice(mode: Mode) -> None:
    began = NOW - dt.timedelta(hours=1)
    ledger = {
        KEYS[0]: entry(KEYS[0], Verdict.VERIFIED, attempt="a", receipt_id="r", at=NOW),
        KEYS[1]: entry(KEYS[1], Verdict.VERIFIED, attempt="a", receipt_id="r", at=began - dt.timedelta(days=1)),
    }
    plan = make_plan(Toy(), PARTITIONS[:2], ledger, PlanRules(mode=mode, since=began, goes_on=True))
    assert [item.path is Path.SKIP for item in plan.items] == [True, False]


def test_a_full_run_that_was_killed_between_landing_and_loading_does_not_fetch_again() -> None:
    ledger = {KEYS[0]: entry(KEYS[0], Verdict.LANDED, attempt="a", at=NOW)}
    plan = make_plan(Toy(), PARTITIONS[:1], ledger, PlanRules(mode=Mode.FULL, since=NOW - HOUR, goes_on=True))
    assert plan.items[0].path is Path.RELOAD


def test_a_date_before_the_floor_is_unavailable_in_every_mode() -> None:
    early = partitions_between(dt.date(2024, 12, 30), dt.date(2024, 12, 31), "UTC")
    for mode in Mode:
        assert make_plan(Toy(), early, {}, PlanRules(mode=mode)).items[0].path is Path.UNAVAILABLE


def test_newest_first_is_the_same_plan_backwards() -> None:
    forward, backward = (make_plan(Toy(), PARTITIONS, {}, PlanRules(order=order)) for order in list(Order)[:2])
    assert backward.keys == forward.keys[::-1]


def test_sequential_is_one_date_at_a_time() -> None:
    asked = Asked(source="toy", start_date=dt.date(2025, 1, 1), end_date=dt.date(2025, 1, 2), max_concurrency=8)
    assert asked.model_copy(update={"order": Order.SEQUENTIAL}).concurrency == 1


def test_excluded_dates_are_not_in_the_plan() -> None:
    found = requested_partitions(
        Toy(), Selection(dt.date(2025, 1, 1), dt.date(2025, 1, 10), exclude="2025-01-02..2025-01-09"), NOW
    )
    assert [one.key for one in found] == ["2025-01-01", "2025-01-10"]


def test_an_older_plan_touches_only_what_still_needs_it() -> None:
    planned = {"2025-01-01", "2025-01-02", "2025-01-03"}
    world = {"2025-01-02": entry("2025-01-02", Verdict.VERIFIED)}
    plan = make_plan(Toy(), PARTITIONS, world, PlanRules(only=planned))
    assert [one.key for one in plan.to_fetch] == ["2025-01-01", "2025-01-03"]
    assert set(plan.keys) == planned


@given(ledgers, ledgers)
def test_plans_have_one_hash_exactly_when_they_do_the_same(
    left: dict[str, LedgerEntry], right: dict[str, LedgerEntry]
) -> None:
    one, other = make_plan(Toy(), PARTITIONS, left), make_plan(Toy(), PARTITIONS, right)
    same = [item.path for item in one.items] == [item.path for item in other.items]
    assert (one.hash == other.hash) == same


def test_a_run_that_retries_failures_resumes_by_its_plan_because_paused_dates_are_no_failures() -> None:
    asked = Asked(source="toy", start_date=dt.date(2025, 1, 1), end_date=dt.date(2025, 1, 2), retry_failed=True)
    given = asked.resumed("bf-1")
    again = Asked.model_validate(given)
    assert (again.retry_failed, again.plan_of, again.resume_of) == (False, "bf-1", "bf-1")
    assert Asked.model_validate(again.resumed("bf-2")).resume_of == "bf-1"


@pytest.mark.parametrize("given_s", [0.0, 7 * 3600.0])
def test_what_begins_by_itself_waits_for_its_source(given_s: float) -> None:
    asked = Asked(source="toy", start_date=dt.date(2025, 1, 1), end_date=dt.date(2025, 1, 2), wait_for_lease_s=given_s)
    family = AskedFamily(family="toys", period="2025", wait_for_lease_s=given_s)
    for again in (Asked.model_validate(asked.resumed("bf-1")), AskedFamily.model_validate(family.resumed("bf-1"))):
        assert again.wait_for_lease_s == max(given_s, 6 * 3600)
