"""Rows that a source adds later cost as many partition writes as dates they came to, and no more."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.daily import _verdict
from flows.ledger.ledger import LedgerEntry
from flows.mapping import map_windows
from flows.parameters import Mode
from flows.planning.plan import Path, Plan, PlannedPartition
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.wiring import Services
from processors.load_plan import TableBatch
from processors.warehouse import BigQueryWarehouse

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
FIRST, LAST, DAYS = "2025-01-01", "2025-03-31", 90
# One of them, in the All-Star break, was proven empty before.
LATE = ["2025-01-01", "2025-01-02", "2025-02-14", "2025-03-09", "2025-03-31"]
TABLES = ("nba_bdl_games", "nba_bdl_player_stats")


class Writes:
    """Every partition that BigQuery was told to replace, by table."""

    def __init__(self) -> None:
        self.dates: dict[str, list[str]] = {table: [] for table in TABLES}

    def count(self, batch: TableBatch) -> None:
        (dates,) = batch.scope
        self.dates[batch.table.name] += [str(one) for one in dates.values]

    def forget(self) -> None:
        for dates in self.dates.values():
            dates.clear()


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    found = Writes()
    replace_rows = BigQueryWarehouse.replace_rows

    def counted(self: BigQueryWarehouse, batch: TableBatch, **given: Any) -> Any:
        found.count(batch)
        return replace_rows(self, batch, **given)

    monkeypatch.setattr(BigQueryWarehouse, "replace_rows", counted)
    return found


@pytest.fixture
def filled(place: Place, writes: Writes, monkeypatch: pytest.MonkeyPatch, memory_bucket: MemoryObjectStore) -> Place:
    """90 verified dates; meanwhile the source got one game more on five of them."""
    monkeypatch.setattr(Services, "store", memory_bucket)
    place.services = Services(place.services.settings)
    place.fill(FIRST, DAYS)
    assert [len(dates) for dates in writes.dates.values()] == [DAYS, DAYS]
    assert place.entry("2025-02-14").verdict.value == "empty_ok"
    writes.forget()
    place.upstream.trouble({"kind": "late_game", "dates": LATE})
    return place


def rows_by_date(place: Place) -> dict[str, Counter[str]]:
    found = {}
    for table in ("games", "lines"):
        counted = place.sql(f"SELECT CAST(game_date AS STRING) AS day, COUNT(*) AS n FROM {{{table}}} GROUP BY day")
        found[table] = Counter({row["day"]: row["n"] for row in counted})
    return found


def more_rows(before: dict[str, Counter[str]], after: dict[str, Counter[str]]) -> dict[str, list[str]]:
    """Dates with more rows than before; none may have less."""
    for table, counted in before.items():
        assert not counted - after[table], "no date lost a row"
    return {table: sorted(counted - before[table]) for table, counted in after.items()}


def checked(place: Place, writes: Writes, before: dict[str, Counter[str]], known: dict[str, LedgerEntry]) -> None:
    assert {table: sorted(dates) for table, dates in writes.dates.items()} == dict.fromkeys(TABLES, LATE)
    assert more_rows(before, rows_by_date(place)) == {"games": LATE, "lines": LATE}
    entries = place.ledger.refresh()
    assert [key for key, entry in entries.items() if entry.receipt_id != known[key].receipt_id] == LATE
    assert [key for key, entry in entries.items() if entry.content_hash != known[key].content_hash] == LATE
    assert {entry.verdict.value for key, entry in entries.items() if key in LATE} == {"verified"}


@pytest.mark.long
def test_late_rows_in_5_of_90_days_are_5_partition_writes_of_a_full_run(
    filled: Place, writes: Writes, ran: Ran
) -> None:
    before, known = rows_by_date(filled), filled.ledger.refresh()
    run, facts = ran(FIRST, LAST, mode=Mode.FULL, canary=-1)
    assert facts.verdict == "COMPLETE"
    assert run.tally.calls == DAYS
    checked(filled, writes, before, known)
    writes.forget()
    _, facts = ran(FIRST, LAST, mode=Mode.FULL, canary=-1)
    assert facts.verdict == "COMPLETE"
    assert writes.dates == {table: [] for table in TABLES}, "they are known now"


@pytest.mark.long
def test_late_rows_in_5_of_90_days_are_5_partition_writes_of_the_daily_run(filled: Place, writes: Writes) -> None:
    before, known = rows_by_date(filled), filled.ledger.refresh()
    run = live(filled)
    checked(filled, writes, before, known)
    assert (len(run.work.unchanged), run.tally.calls) == (DAYS - len(LATE), DAYS)
    assert "5 loaded, 85 unchanged, 0 not well" in str(_verdict(run).message)
    untouched = {key: entry for key, entry in filled.ledger.refresh().items() if key not in LATE}
    assert untouched == {key: entry for key, entry in known.items() if key not in LATE}


def live(place: Place, first: str = FIRST, days: int = DAYS) -> Run:
    """What the daily flow does with its window, here of 90 dates."""
    start = dt.date.fromisoformat(first)
    end = start + dt.timedelta(days=days - 1)
    asked = Asked(source=SOURCE, start_date=start, end_date=end, mode=Mode.FULL)
    run = Run(place.services, asked, "daily-1", PlainOrchestrator(), purpose="live")
    items = tuple(PlannedPartition(one, Path.FETCH, "may have changed") for one in place.partitions(first, days))
    plan = Plan(SOURCE, asked.start_date, asked.end_date, run.kit.scraper.zone, items)
    with run:
        run.begin_live(plan)
        asyncio.run(map_windows(run, plan))
    return run
