"""The first date with rows: found by a few dozen calls; no weekend, holiday or off-season is taken for the launch."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.errors import AuthenticationError, CoverageLow, NothingPublished, PartitionUnavailable
from deployments.local.upstreams.season import FIRST_DATE, games_on
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.first_date_search import FirstSearch, look_at, neighbours
from scrapers.partition import Partition

BEGIN = dt.date(2010, 1, 1)
DAY = Partition.day(dt.date(2025, 1, 3), "UTC")
FEW = len(neighbours("day")) + 6
"""What a search costs besides log2(n): a look at each neighbour, and rounding up in years and in weeks."""


def searched(count: int, has_rows: Callable[[int], bool], **facts: Any) -> tuple[int | None, int]:
    """What was found, and by how many calls."""
    asked: list[int] = []

    def look(at: int) -> bool:
        assert 0 <= at < count
        asked.append(at)
        return has_rows(at)

    found = FirstSearch(count, look, **facts).first()
    assert len(asked) == len(set(asked)), "no date is asked for twice"
    return found, len(asked)


@given(st.integers(1, 9000), st.data())
@settings(max_examples=200, deadline=None)
def test_the_launch_date_takes_log2_n_calls_and_a_few(count: int, data: st.DataObject) -> None:
    launch = data.draw(st.integers(0, count - 1))
    found, calls = searched(count, lambda at: at >= launch)
    assert found == launch
    assert calls <= math.log2(count) + FEW


@given(st.integers(30, 9000), st.sets(st.integers(0, 6), min_size=1, max_size=6), st.data())
@settings(max_examples=200, deadline=None)
def test_days_of_the_week_without_rows_mislead_nobody_and_cost_next_to_nothing(
    count: int, quiet: set[int], data: st.DataObject
) -> None:
    launch = data.draw(st.integers(0, count - 8))
    has_rows = lambda at: at >= launch and at % 7 not in quiet  # noqa: E731
    found, calls = searched(count, has_rows)
    assert found == next(at for at in range(count) if has_rows(at))
    assert calls <= math.log2(count) + FEW + 8


@given(st.integers(400, 6000), st.sets(st.integers(0, 6000), max_size=60), st.data())
@settings(max_examples=200, deadline=None)
def test_single_holidays_never_become_the_launch(count: int, holidays: set[int], data: st.DataObject) -> None:
    launch = data.draw(st.integers(0, count - 300))
    quiet = {at for at in holidays if at > launch + 7}
    found, calls = searched(count, lambda at: at >= launch and at not in quiet)
    assert found == launch
    assert calls < 200


@pytest.mark.parametrize(("start", "end"), [("1985-01-01", "2025-02-07"), ("1946-11-01", "2025-08-07")])
def test_seasons_with_four_months_of_rest_are_searched_through(start: str, end: str) -> None:
    """The second range ends in the off-season."""
    first = dt.date.fromisoformat(start)
    count = (dt.date.fromisoformat(end) - first).days + 1
    found, calls = searched(count, lambda at: bool(games_on(first + dt.timedelta(days=at))))
    assert first + dt.timedelta(days=found or 0) == FIRST_DATE
    assert calls <= 100


def test_a_season_of_three_weeks_before_a_long_rest_is_seen() -> None:
    launch, count = 1000, 4000
    found, _ = searched(count, lambda at: launch <= at < launch + 21 or at >= launch + 21 + 150)
    assert found == launch


def test_months_are_searched_one_by_one() -> None:
    found, calls = searched(240, lambda at: at >= 100, step="month")
    assert found == 100
    assert calls <= math.log2(240) + len(neighbours("month")) + 4


def test_nothing_near_the_end_is_no_answer_and_not_a_launch_after_it() -> None:
    found, calls = searched(5000, lambda at: at < 1000)
    assert found is None
    assert calls == len(neighbours("day")) + 1


def test_what_the_ledger_knows_costs_no_call_and_is_never_contradicted() -> None:
    known = {4000: True, 700: True, **dict.fromkeys(range(690, 700), False)}
    found, calls = searched(5000, lambda at: at > 3000, known=known)
    assert found == 700
    assert calls <= math.log2(5000) + FEW


class Toy(Scraper):
    source, title, zone = "toy", "Toy", "UTC"
    base_url, tables = "https://toy.example", ("items",)

    def first_request(self, partition: Partition) -> Request:
        return Request(f"/{partition.key}")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        answer = json.loads(page.body)
        if answer == "nothing":
            raise NothingPublished("an empty body")
        if answer == "short":
            raise CoverageLow("a game without players")
        following = Request("/next", cursor="2") if answer == "more" else None
        rows = answer if isinstance(answer, int) else 0
        return Findings({"items": rows}, empty_evidence="200 0" if answer == 0 else "", next_request=following)


class Answers:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return Page(request, page_number, 200, {}, json.dumps(answer).encode(), dt.datetime.now(dt.UTC), 0.1)


@pytest.mark.parametrize(
    ("answers", "is_there", "said"),
    [
        ([7], True, "7 rows on page 1"),
        (["more", 3], True, "3 rows on page 2"),
        ([0], False, "empty: 200 0"),
        (["nothing"], False, "NothingPublished: an empty body"),
        ([PartitionUnavailable("410")], False, "PartitionUnavailable: 410"),
        (["short"], True, "CoverageLow: a game without players"),
    ],
)
def test_a_look_says_whether_something_is_there_and_by_which_sign(answers: list[Any], is_there: bool, said: str):
    look = look_at(DAY, Toy(), Answers(*answers))
    assert (look.partition, look.is_there, look.said) == (DAY.key, is_there, said)
    assert bool(look.sha256) == (said[:4] != "Part")


def test_a_dead_key_is_no_empty_date():
    with pytest.raises(AuthenticationError):
        look_at(DAY, Toy(), Answers(AuthenticationError("401")))
