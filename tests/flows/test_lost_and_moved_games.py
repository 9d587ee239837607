"""A stretch of a season through every source of NBA games, with what goes wrong in life: each found, each by its name.

The schedule says what there must be. One game was moved and one postponed; each sample lost one, scoreboards list one
three times; Ball Don't Lie has one on two dates; one is moved when it is loaded already, while one host blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from deployments.local.upstreams.box_scores_upstream import Upstream
from deployments.local.upstreams.drive_upstream import DriveUpstream
from deployments.local.upstreams.league import Game, games_in
from deployments.local.upstreams.nba_upstream import NbaUpstream
from flows.asked import Asked
from flows.closing.finish import finish
from flows.ledger.cooldowns import cooling_until
from flows.ledger.ledger import LedgerEntry
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.truth.auditing import audit_sources
from flows.truth.kept_look import keep_look_at
from flows.truth.side_by_side import SideBySide, read_side_by_side
from flows.wiring import Services

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
DAYS = [dt.date(2024, 11, 2) + dt.timedelta(days=at) for at in range(4)]
FIRST, LAST = DAYS[0], DAYS[-1]
NBA_BY_DATE = ("nba_scoreboard", "nba_boxscores", "nba_gamelog", "nba_playbyplay")
BY_DATE = (*NBA_BY_DATE, "bdl_games", "bdl_stats", "bdl_box_scores", "bigdataball_playbyplay")
RUNS = (f"bf-nba{number:09d}" for number in itertools.count(1))


def of_date(date: dt.date) -> list[Game]:
    return [game for game in games_in(2024) if game.date == date]


def free_on(date: dt.date, to: dt.date, but: Game | None = None) -> Game:
    """A game of ``date`` whose teams do not play on ``to``."""
    busy = {team.bdl_id for game in of_date(to) for team in (game.home, game.visitor)}
    games = [game for game in of_date(date) if game != but]
    return next(game for game in games if not busy & {game.home.bdl_id, game.visitor.bdl_id})


MOVED, POSTPONED = free_on(DAYS[0], DAYS[2]), free_on(DAYS[1], DAYS[3])
TWICE = next(game for game in of_date(DAYS[1]) if game != POSTPONED)
DROPPED, THRICE = of_date(DAYS[2])[0], of_date(DAYS[3])[0]
LATER = free_on(DAYS[0], DAYS[3], but=MOVED)
IN_LIFE = [
    {"kind": "move", "game": MOVED.nba_id, "to": str(DAYS[2])},
    {"kind": "postpone", "game": POSTPONED.nba_id, "to": str(DAYS[3])},
]


def without_one(path: str = "") -> list[dict[str, Any]]:
    return [*IN_LIFE, {"kind": "drop", "game": DROPPED.nba_id, "path": path}]


@dataclass
class Season:
    """All samples of NBA games, and the product before them."""

    services: Services
    nba: NbaUpstream
    bdl: Upstream
    drive: DriveUpstream

    def run(self, source: str, **given: Any) -> RunFacts:
        what = {"start_date": FIRST, "end_date": LAST} if source != "nba_schedule" else {"entities": "2024-25"}
        asked = Asked.model_validate({"source": source, "breaker": False, **what, **given})
        run = Run(self.services, asked, next(RUNS), PlainOrchestrator())
        try:
            plan = plan_asked(self.services, asked, utc_now(), run.backfill_id)
            run.begin(plan, starting_facts(self.services, plan.plan, {}, run.backfill_id, asked))
            asyncio.run(map_windows(run, plan.plan))
            return finish(run, abort_reason(run.stopped_by or run.loading_stopped_by))
        finally:
            run.close()

    def entries(self, source: str) -> dict[str, LedgerEntry]:
        return self.services.source_kit(source).ledger.refresh()

    def looked(self, *sources: str) -> SideBySide:
        return read_side_by_side(self.services, sources, FIRST, LAST, utc_now())

    def kept(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        """Rows of one of the tables that a look at all sources leaves."""
        keep_look_at(self.services, BY_DATE, FIRST, LAST, utc_now())
        sql = f"SELECT {columns} FROM {self.services.warehouse.name_of(table)} ORDER BY {columns}"
        return [tuple(row.values()) for row in self.services.warehouse.query(sql)]


@pytest.fixture
def season(provisioned: Any) -> Iterator[Season]:
    with contextlib.ExitStack() as started:
        nba = started.enter_context(NbaUpstream(now=NOW))
        bdl = started.enter_context(Upstream(now=NOW))
        drive = started.enter_context(DriveUpstream(now=NOW))
        hosts = {"nba_schedule": "/{site}", "nba_playbyplay": "/{site}"}
        urls = {name: f"{nba.url}{hosts.get(name, '/stats')}" for name in ("nba_schedule", *NBA_BY_DATE)}
        urls |= dict.fromkeys(("bdl_games", "bdl_stats", "bdl_box_scores"), bdl.url)
        urls["bigdataball_playbyplay"] = drive.url
        services = provisioned(
            "nba_schedule",
            nba.url,
            {"bdl_api_key": bdl.api_key, "drive_service_account": drive.key_file},
            GAPLESS_SOURCE_URLS=json.dumps(urls),
            GAPLESS_SOURCE_PAUSE_S=json.dumps({"nba_stats": [0, 0], "nba_cdn": [0, 0]}),
            GAPLESS_SOURCE_RATE_PER_MINUTE=json.dumps(dict.fromkeys(("nba_stats", "nba_cdn", "balldontlie"), 60_000)),
        )
        for source in BY_DATE:
            for table in services.source_kit(source).processor.tables:
                services.warehouse.ensure_table(table)
        yield Season(services, nba, bdl, drive)


def name_of(game: Game) -> str:
    return f"{game.nba_id} {game.visitor.tricode} {game.home.tricode}"


TOLD = "date, item_key, source, kind, other_dates"


@pytest.mark.long  # eight sources from plan to verdict, on emulators
def test_a_game_that_is_dropped_moved_postponed_or_listed_thrice_is_found_in_every_source_and_named(
    season: Season,
) -> None:
    # Scoreboards list a game once for each broadcaster, the schedule does not.
    thrice = {"kind": "triple", "game": THRICE.nba_id, "path": "scoreboard"}
    season.nba.set_season([*without_one("/stats/"), thrice])
    season.bdl.set_season(without_one())
    season.drive.controls["season"](without_one())
    assert season.run("nba_schedule").verdict == "COMPLETE"
    for source in BY_DATE:
        facts = season.run(source)
        if source == "bdl_stats":
            # It waits for the date that bdl_games has not whole.
            assert facts.verdict_counts["verified"] == 3
            continue
        entries = season.entries(source)
        verdicts = {str(day): entries[str(day)].verdict.value for day in DAYS}
        short = source != "bdl_box_scores"
        assert verdicts == {str(day): "partial" if short and day == DAYS[2] else "verified" for day in DAYS}, (
            source,
            [entry.error for entry in entries.values()],
        )
        if short:
            assert f"not there: {name_of(DROPPED)}" in entries[str(DAYS[2])].error

    found = season.looked(*BY_DATE)
    told = {(one.date, one.item.split()[0]): one.states for one in found.disagreements}
    assert {*told} == {(str(DAYS[2]), DROPPED.nba_id)}
    states = told[str(DAYS[2]), DROPPED.nba_id]
    assert states == dict.fromkeys((name for name in BY_DATE if name != "bdl_stats"), "missing")
    lacking = [(DAYS[2], DROPPED.nba_id, source, "missing", None) for source in sorted(states)]
    assert season.kept("gapless_disagreements", TOLD) == lacking
    by_source = {one.source: one for one in found.standings}
    games = sum(len(of_date(day)) for day in DAYS)
    for source in BY_DATE:
        if source != "bdl_stats":
            assert (by_source[source].expected, by_source[source].loaded, by_source[source].more) == (
                games,
                games - 1,
                0,
            )

    # One id on a second date: refused there, by its id and the date that has it.
    twice = {"kind": "double", "game": TWICE.nba_id, "to": str(DAYS[3])}
    season.bdl.set_season([*IN_LIFE, twice])
    facts = season.run("bdl_games", mode="full")
    assert facts.verdict_counts == {"verified": 3, "partial": 1}, "its own date came as it was, the lost game is back"
    refused = season.entries("bdl_games")[str(DAYS[3])]
    assert f"1 value of bdl_game_id: {TWICE.bdl_id} (also on {DAYS[1]})" in refused.error
    errors = {row[:2]: row[2] for row in season.kept("gapless_coverage", "date, source, error")}
    assert f"{TWICE.bdl_id} (also on {DAYS[1]})" in errors[DAYS[3], "bdl_games"]

    # Moved when it is loaded everywhere: the schedule's later version is believed, and both dates are named.
    season.nba.set_season([*without_one("/stats/"), thrice, {"kind": "move", "game": LATER.nba_id, "to": str(DAYS[3])}])
    assert season.run("nba_schedule", mode="full").verdict == "COMPLETE"
    moved = {row[:4] for row in season.kept("gapless_disagreements", TOLD) if row[1] == LATER.nba_id}
    assert {(DAYS[0], LATER.nba_id, source, "moved") for source in NBA_BY_DATE} <= moved
    assert {(DAYS[3], LATER.nba_id, source, "moved") for source in NBA_BY_DATE} <= moved
    audited = audit_sources(season.services, ["nba_boxscores"], utc_now(), FIRST, LAST)
    assert {one.partition: one.deficit.value for one in audited} == {
        str(DAYS[0]): "moved",
        str(DAYS[2]): "failed",
        str(DAYS[3]): "missing_items",
    }

    # One host blocks: the account of the other goes on, and what was there stays.
    season.nba.trouble({"kind": "access_denied", "path": "/stats/"})
    assert season.run("nba_boxscores").verdict == "ABORTED(critical)"
    assert cooling_until(season.services.store, "nba_scoreboard", utc_now()) is not None
    assert cooling_until(season.services.store, "nba_schedule", utc_now()) is None
    assert season.run("nba_schedule", mode="full").verdict == "COMPLETE"
    there = {
        (one.date, source): state
        for one in season.looked(*BY_DATE).disagreements
        for source, state in one.states.items()
    }
    assert "more" in there[str(DAYS[0]), "nba_boxscores"]
    season.nba.trouble()
    season.run("nba_boxscores")
    left = [row for row in season.kept("gapless_disagreements", TOLD) if row[2] == "nba_boxscores"]
    assert left == [(DAYS[2], DROPPED.nba_id, "nba_boxscores", "missing", None)]
