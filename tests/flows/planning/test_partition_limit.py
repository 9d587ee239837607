"""A plan that could fill a table beyond BigQuery's limit of partitions is refused before its calls."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import ConfigurationError, WarehouseBusy
from alerting.instant import utc_now
from flows.asked import Asked
from flows.planning.partition_limit import FEW_DATES, MOST_PARTITIONS, refuse_beyond_partition_limit, tables_to_look_at
from flows.planning.plan import Path, Plan, PlannedPartition
from flows.planning.planner import plan_asked
from scrapers.partition import Partition
from scrapers.registry import scraper

if TYPE_CHECKING:
    from ..conftest import Place

SOURCE, FIRST = "bdl_box_scores", dt.date(1990, 1, 1)


class Tables:
    """Services whose tables have rows of the first ``filled`` dates; ``asked`` counts the queries for them.

    ``late`` is what BigQuery's own count says less; None where it has none.
    """

    def __init__(self, given: Any, filled: int = 0, error: Exception | None = None, late: int | None = 0) -> None:
        self._given, self._filled, self._error, self._late = given, filled, error, late
        self.asked = self.looked = 0

    def source_kit(self, source: str) -> Any:
        return self._given.source_kit(source)

    @property
    def warehouse(self) -> Any:
        return self

    def name_of(self, table: str) -> str:
        return f"`{table}`"

    def partitions(self, table: str) -> int | None:
        self.looked += 1
        if self._error is not None:
            raise self._error
        return None if self._late is None else self._filled - self._late

    def query(self, sql: str) -> list[dict[str, Any]]:
        self.asked += 1
        if self._error is not None:
            raise self._error
        return [{"day": FIRST + dt.timedelta(days=offset)} for offset in range(self._filled)]


def plan(fetched: int, *, skipped: int = 0, source: str = SOURCE, first: dt.date = FIRST) -> Plan:
    days = [Partition.day(first + dt.timedelta(days=offset), "UTC") for offset in range(skipped + fetched)]
    items = [PlannedPartition(day, Path.SKIP if at < skipped else Path.FETCH, "") for at, day in enumerate(days)]
    return Plan(source, days[0].start, days[-1].start, "UTC", tuple(items))


def refuse(tables: Tables, asked: Plan) -> None:
    given: Any = tables
    now = dt.datetime.combine(asked.end_date, dt.time(23), dt.UTC)
    dates = [item.partition for item in asked.items]
    with ThreadPoolExecutor() as looking:
        names = tables_to_look_at(given, scraper(asked.source), dates, now)
        looks = {name: looking.submit(tables.partitions, name) for name in names}
    refuse_beyond_partition_limit(given, asked, looks)


def test_a_plan_is_let_through_up_to_95_percent_of_the_limit_and_refused_beyond(place: Place) -> None:
    refuse(Tables(place.services, filled=9_000), plan(500, skipped=9_000))
    with pytest.raises(ConfigurationError) as refused:
        refuse(Tables(place.services, filled=9_000), plan(501, skipped=9_000))
    said = refused.value
    assert said.message.startswith(
        "nba_bdl_games has 9,000 partitions and this plan may add 501; BigQuery takes 10,000"
    )
    assert said.message.endswith("Nothing was done")
    assert said.hint.startswith("ask for 500 dates at most")


def test_dates_before_1960_and_after_2159_share_one_partition(place: Place) -> None:
    refuse(Tables(place.services), plan(30_000, first=dt.date(1900, 1, 1)))
    refuse(Tables(place.services), plan(12_000, first=dt.date(2135, 1, 1)))
    with pytest.raises(ConfigurationError, match="this plan may add 9,864;"):
        refuse(Tables(place.services), plan(12_000, first=dt.date(1954, 2, 24)))


def test_dates_that_have_a_partition_already_need_none(place: Place) -> None:
    tables = Tables(place.services, filled=9_600)
    refuse(tables, plan(9_600))
    assert tables.asked


def test_a_full_table_is_told_what_helps_then(place: Place) -> None:
    with pytest.raises(ConfigurationError) as refused:
        refuse(Tables(place.services, filled=MOST_PARTITIONS), plan(FEW_DATES + 1, skipped=MOST_PARTITIONS))
    assert "a table of its own" in refused.value.hint
    assert 'granularity="MONTH" for nba_bdl_games' in refused.value.hint


def test_the_tables_are_looked_at_where_they_can_be_full_and_for_more_than_a_few_dates_only(place: Place) -> None:
    tables = Tables(place.services)
    refuse(tables, plan(FEW_DATES))
    refuse(tables, plan(2_000, source="nba_playbyplay", first=dt.date(2019, 10, 1)))
    assert tables.looked == 0
    refuse(tables, plan(FEW_DATES + 1))
    assert tables.looked == len(place.services.source_kit(SOURCE).processor.tables)


def test_no_query_is_asked_where_the_tables_own_count_leaves_room_for_every_date(place: Place) -> None:
    tables = Tables(place.services, filled=9_000)
    refuse(tables, plan(500, skipped=9_000))
    assert tables.asked == 0
    # Some of these have a partition already: only the dates themselves tell how many.
    refuse(tables, plan(9_001))
    assert tables.asked == len(place.services.source_kit(SOURCE).processor.tables)


@pytest.mark.parametrize("late", [0, 300, None], ids=["in time", "late", "missing"])
def test_a_count_that_is_late_or_missing_refuses_no_more_and_lets_through_what_has_room(
    place: Place, late: int | None
) -> None:
    refuse(Tables(place.services, filled=9_000, late=late), plan(500, skipped=9_000))
    with pytest.raises(ConfigurationError, match="nba_bdl_games has 9,000 partitions and this plan may add 801;"):
        refuse(Tables(place.services, filled=9_000, late=late), plan(801, skipped=9_000))
    # The last batches of another run, not counted yet.
    behind = Tables(place.services, filled=9_300, late=300)
    refuse(behind, plan(500, skipped=9_300))
    assert behind.asked == 0


def test_where_bigquery_does_not_answer_the_plan_alone_is_counted(place: Place) -> None:
    tables = Tables(place.services, error=WarehouseBusy("503"))
    refuse(tables, plan(MOST_PARTITIONS))
    with pytest.raises(ConfigurationError):
        refuse(tables, plan(MOST_PARTITIONS + 1))


def test_eighty_years_of_games_are_refused_with_the_real_tables_asked_and_nothing_written(place: Place) -> None:
    place.fill("2025-01-01", 2)
    before = [one.name for one in place.store.list("")]
    asked = Asked(source=SOURCE, start_date=dt.date(1946, 11, 1), end_date=dt.date(2025, 6, 30))
    with pytest.raises(ConfigurationError, match="nba_bdl_games has 2 partitions and this plan may add 23,9"):
        plan_asked(place.services, asked, utc_now())
    assert [one.name for one in place.store.list("")] == before
