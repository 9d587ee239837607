"""The daily run of a source that is asked by entity: the schedule of the season that is on. On emulators."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.local.upstreams.league import games_in, usual_changes
from deployments.local.upstreams.nba_upstream import NbaUpstream
from flows.asked import Asked
from flows.daily import _verdict, live_plan, settled_window
from flows.ledger.ledger import LedgerEntry
from flows.mapping import map_windows
from flows.parameters import Mode
from flows.planning.expectations import taken_at
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.wiring import Services
from scrapers.registry import scraper

SOURCE, SEASON = "nba_schedule", "2024-25"
MOVED_TO = "2025-02-14"  # of the All-Star break
NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def site() -> Iterator[NbaUpstream]:
    with NbaUpstream(now=NOW) as started:
        yield started


@pytest.fixture
def services(provisioned: Any, site: NbaUpstream) -> Services:
    return provisioned(
        SOURCE,
        f"{site.url}/{{site}}",
        {},
        GAPLESS_SOURCE_PAUSE_S=json.dumps({"nba_cdn": [0, 0]}),
        GAPLESS_SOURCE_RATE_PER_MINUTE=json.dumps({"nba_cdn": 60_000}),
    )


def read_daily(services: Services, number: int) -> tuple[str, LedgerEntry]:
    """What the daily flow does on the first of February, and what is known of the season afterwards."""
    plan = live_plan(services, SOURCE, settled_window(scraper(SOURCE), 3, NOW))
    asked = Asked(source=SOURCE, entities=SEASON, mode=Mode.FULL)
    with Run(services, asked, f"daily-{number}", PlainOrchestrator(), purpose="live") as run:
        run.begin_live(plan)
        asyncio.run(map_windows(run, plan))
        return str(_verdict(run).message), services.source_kit(SOURCE).ledger.refresh()[SEASON]


@pytest.mark.parametrize(
    ("today", "season"), [("2024-09-30", "2023-24"), ("2024-10-01", "2024-25"), ("2025-06-22", "2024-25")]
)
def test_a_daily_run_reads_the_schedule_of_the_season_that_is_on(today: str, season: str) -> None:
    noon = dt.datetime.fromisoformat(f"{today}T12:00+00:00")
    assert [one.key for one in settled_window(scraper(SOURCE), 3, noon)] == [season]


def test_a_daily_run_of_another_source_by_entity_reads_each_kind_of_each_entity() -> None:
    keys = [one.key for one in settled_window(scraper("racing_reference"), 3, NOW)]
    assert keys == sorted(scraper("racing_reference").names_of_entities)


def test_a_game_that_is_moved_overnight_is_on_its_new_date_and_what_came_as_it_was_is_as_new_as_its_reading(
    services: Services, site: NbaUpstream
) -> None:
    told, first = read_daily(services, 1)
    assert told == f"1 entity read ({SEASON}): 1 loaded, 0 unchanged, 0 not well"

    told, second = read_daily(services, 2)
    assert told == f"1 entity read ({SEASON}): 0 loaded, 1 unchanged, 0 not well"
    # An oracle is believed of dates that were over when it was read.
    assert taken_at(second) >= taken_at(first)
    assert second.attempt != first.attempt
    assert second.answered_at > first.answered_at
    assert (second.backfill_id, second.receipt_id, second.changes) == ("daily-2", first.receipt_id, {})

    moved = next(game for game in games_in(2024) if game.date == NOW.date() - dt.timedelta(days=3))
    usual = [change.model_dump(mode="json") for change in usual_changes(2024)]
    site.set_season([*usual, {"kind": "move", "game": moved.nba_id, "to": MOVED_TO}])
    told, third = read_daily(services, 3)
    assert told == f"1 entity read ({SEASON}): 1 loaded, 0 unchanged, 0 not well"
    table = services.warehouse.name_of("nba_schedule")
    sql = f"SELECT CAST(game_date AS STRING) AS day FROM {table} WHERE game_id = @id AND deleted_at IS NULL"
    assert services.warehouse.query(sql, {"id": moved.nba_id}) == [{"day": MOVED_TO}]
    assert third.verdict.value == "verified"
