"""In which order the sources of a family run, and which dates people mean by the name of a period. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_family import TOYS, Toy

from alerting.errors import ConfigurationError
from alerting.memory_store import MemoryObjectStore
from flows.asked import AskedFamily
from flows.planning.family import in_family_order, needs_of, plan_family
from flows.planning.period import period_dates
from flows.settings import Settings
from flows.wiring import Services
from scrapers.base import Scraper
from scrapers.platforms.nba_calendar import NBA_SEASONS
from scrapers.platforms.nba_com import season_of
from scrapers.registry import families, scraper, sources_of_family

NAMES = "abcdefgh"


def toy(name: str, requires: tuple[str, ...] = (), calls: float = 1.0) -> Scraper:
    class Made(Toy):
        source = name
        tables: ClassVar[tuple[str, ...]] = (f"toy_{name}",)
        calls_guess = calls

    Made.requires = requires
    return Made()


@st.composite
def acyclic(draw: Any) -> list[Scraper]:
    names = draw(st.permutations(NAMES[: draw(st.integers(1, len(NAMES)))]))
    return [
        toy(name, tuple(draw(st.lists(st.sampled_from(names[:at]), unique=True)) if at else ()), draw(st.floats(1, 9)))
        for at, name in enumerate(names)
    ]


@given(acyclic(), st.randoms(use_true_random=False))
def test_each_source_comes_once_after_all_it_needs_however_they_are_listed(family: list[Scraper], dice: Any) -> None:
    order = in_family_order(family)
    assert sorted(order) == sorted(one.source for one in family)
    at = {name: number for number, name in enumerate(order)}
    assert all(at[needed] < at[one.source] for one in family for needed in needs_of(one))
    dice.shuffle(family)
    assert in_family_order(family) == order


def test_a_circle_is_refused_by_the_names_in_it() -> None:
    with pytest.raises(ConfigurationError, match="a, b need each other in a circle"):
        in_family_order([toy("a", ("b",)), toy("b", ("a",)), toy("c")])


def test_a_source_that_is_not_run_is_waited_for_by_nobody() -> None:
    assert in_family_order([TOYS["scores"](), TOYS["calendar"]()]) == ["calendar", "scores"]


def test_the_families_that_exist_run_their_references_first() -> None:
    orders = {name: in_family_order(scraper(one) for one in sources_of_family(name)) for name in families()}
    assert orders["racing"] == ["racing_reference", "racing_cards", "racing_results"]
    assert orders["nba"][0] == "nba_schedule"
    # The cheap ones first: who stops in the middle has the games before their plays.
    of_nba_com = [name for name in orders["nba"] if name.startswith("nba_")]
    assert of_nba_com.index("nba_scoreboard") < of_nba_com.index("nba_boxscores")


@given(st.dates(dt.date(1946, 11, 1), dt.date(2030, 6, 30)))
def test_a_date_of_the_season_lies_in_the_season_of_its_name(day: dt.date) -> None:
    found = NBA_SEASONS.dates(season_of(day))
    assert found is not None
    first, last = found
    if first <= day <= last:
        assert (season_of(first), season_of(last)) == (season_of(day), season_of(day))
    else:
        assert day.month in (7, 8, 9, 10, 11, 12), "only in an off-season, or before a late start"


def test_a_name_is_a_season_where_there_are_seasons_and_else_a_month() -> None:
    assert period_dates("2003-04", NBA_SEASONS) == (dt.date(2003, 10, 1), dt.date(2004, 6, 30))
    assert period_dates("2003-04", None) == (dt.date(2003, 4, 1), dt.date(2003, 4, 30))
    assert period_dates("2019-20", NBA_SEASONS)[1] == dt.date(2020, 10, 11)
    for wrong in ("", "24-25", "2024-13", "2024-00", "2024-26", "1800", "٢٠٢٤", "2024-25-26", "9999-00", "1890-91"):
        with pytest.raises(ConfigurationError, match="is not a period"):
            period_dates(wrong, NBA_SEASONS)


def racing_steps(last: str, now: dt.datetime) -> tuple[Any, ...]:
    """The plans of all racing sources since 2015, where nothing is known yet."""
    services = Services(Settings(project="p", console_only=True))
    services.__dict__["store"] = MemoryObjectStore()
    return tuple(plan_family(services, AskedFamily(family="racing", start_date="2015-01-01", end_date=last), now).steps)


def test_7_891_calls_are_two_a_date_and_the_lists_of_which_the_contract_gives_a_sixth() -> None:
    """What the collector before Gapless planned, counted again: 2 x 3,944 dates + 3 lists; they are 3,945 and 2."""
    now = dt.datetime(2025, 10, 20, 12, tzinfo=dt.UTC)
    reference, cards, results = racing_steps("2025-10-19", now)
    dates = [sum(step.planned.plan.counts().values()) for step in (cards, results)]
    assert dates == [3_945, 3_945]
    assert (2 * 3_944 + 3, sum(dates) + reference.planned.estimate.calls) == (7_891, 7_892)
    given = {step.asked.source: step.planned.estimate.calls for step in (reference, cards, results)}
    assert given == {"racing_reference": 2, "racing_cards": 1_001, "racing_results": 365}
    gone = [step.planned.plan.counts()["unavailable"] for step in (cards, results)]
    assert gone == [3_945 - 1_001, 3_945 - 365]


def test_the_plan_of_eleven_racing_years_counts_calls_and_what_the_contract_cannot_give() -> None:
    now = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)
    reference, cards, results = racing_steps("2025-12-31", now)
    assert (reference.asked.entities, reference.planned.plan.counts()) == ("all", {"fetch": 2})
    known = (dt.date(2025, 12, 31) - dt.date(2023, 1, 23)).days + 1
    before = (dt.date(2023, 1, 23) - dt.date(2015, 1, 1)).days
    assert cards.planned.plan.counts() == {"fetch": known, "unavailable": before}
    assert cards.planned.estimate.calls == known == 1_074
    # Results of the last 365 days, one call for 50 races of a date.
    answered = (dt.date(2025, 12, 31) - (now - dt.timedelta(days=365)).date()).days + 1
    assert results.planned.plan.counts()["fetch"] == answered == results.planned.estimate.calls
    assert f"{before:,} before the source's first date" in cards.planned.plan.describe()
    assert "older than the source answers for" in results.planned.plan.describe()


def test_a_year_that_is_not_over_is_planned_up_to_the_last_month_that_is() -> None:
    services = Services(Settings(project="p", console_only=True))
    services.__dict__["store"] = MemoryObjectStore()
    asked = AskedFamily(family="hemnet", period="2026")
    steps = plan_family(services, asked, dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)).steps
    assert {step.asked.source: step.asked.end_date for step in steps} == {
        "hemnet_details": dt.date(2026, 10, 31),
        "hemnet_sales": dt.date(2026, 10, 31),
    }
