"""Play-by-play files of the sample season, and a recorded one, become exactly the rows that they have."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.local.upstreams.bigdataball_files import file_name, rows_of
from deployments.local.upstreams.drive_upstream import DriveUpstream
from deployments.local.upstreams.league import Calendar
from processors.admission import Admission
from processors.base import LandedPage
from processors.registry import processor
from scrapers.base import SourceAccess
from scrapers.client import SourceClient
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

NAME = "bigdataball_playbyplay"
NOW = dt.datetime(2025, 3, 20, 12, tzinfo=dt.UTC)
DATE = next(date for date in (dt.date(2025, 1, 7) + dt.timedelta(days=n) for n in range(99))
            if 1 < len(Calendar().listed_on(date)) < 5)  # fmt: skip
DAY = Partition.day(DATE, "America/New_York")
GAMES = [one.game for one in Calendar().listed_on(DATE)]
RECORDED = Path(__file__).parents[3] / "shared" / "fixtures" / "bigdataball" / "pbp_finals_game7.csv"


@pytest.fixture(scope="module")
def upstream() -> Iterator[DriveUpstream]:
    with DriveUpstream(now=NOW) as server:
        yield server


def landed(bench: Any, upstream: DriveUpstream) -> Manifest:
    source = scraper(NAME)
    access = SourceAccess(upstream.url, {"drive_service_account": upstream.key_file})
    with SourceClient(source, access, Budget(Rate())) as client:
        context = ScrapeContext(
            scraper=source,
            client=client,
            landing=bench.landing,
            backfill_id="b1",
            code_version="0",
            now=lambda: NOW,
        )
        return scrape(DAY, context)


def test_a_date_loads_and_its_points_are_those_of_the_box_scores(bench, upstream):
    bench.processor = processor(NAME)
    manifest = landed(bench, upstream)
    receipt = bench.process(manifest)
    assert receipt.failures == receipt.unknown_fields == receipt.absent_fields == {}
    assert receipt.unbalanced == {}
    assert all(one.is_ok for one in bench.verify(manifest, receipt=receipt).values())
    games = bench.rows("nba_bigdataball_games", "game_id", "away_score", "home_score", "file_name", "plays", "periods")
    boxes = {game.nba_id: game.box_score() for game in GAMES}
    assert games == sorted(
        (
            game.nba_id,
            boxes[game.nba_id].visitor.score,
            boxes[game.nba_id].home.score,
            file_name(game),
            len(rows_of(game)),
            4 + boxes[game.nba_id].overtimes,
        )
        for game in GAMES
    )
    columns = ("game_id", "play_id", "team", "player", "points", "remaining_s", "original_x", "leaves")
    found = bench.rows("nba_bigdataball_plays", *columns)
    assert sorted(map(repr, found)) == sorted(map(repr, map(_truth, (row for game in GAMES for row in rows_of(game)))))


def _truth(row: dict[str, str]) -> tuple[Any, ...]:
    minutes, seconds = row["remaining_time"].split(":")[1:]
    x = row["original_x"]
    return (
        row["game_id"].zfill(10),
        int(row["play_id"]),
        row["team"] or None,
        row["player"] or None,
        int(row["points"]) if row["points"] else None,
        60 * int(minutes) + int(seconds),
        None if x in ("", "unknown") else float(x),
        row["left"] or None,
    )


def test_a_revised_file_replaces_its_rows_and_nothing_else(bench, upstream):
    bench.processor = processor(NAME)
    bench.process(landed(bench, upstream))
    upstream.revise(GAMES[0].nba_id)
    receipt = bench.process(landed(bench, upstream))
    told = bench.rows("nba_bigdataball_plays", "game_id", "description")
    assert [game for game, text in told if text and "[corrected 1]" in text] == [GAMES[0].nba_id]
    assert len(told) == sum(len(rows_of(game)) for game in GAMES)
    assert receipt.tables["nba_bigdataball_plays"].changes[str(DATE)].updated == 1


def test_a_recorded_file_gives_exactly_its_rows():
    if not RECORDED.exists():
        pytest.skip("the recordings are not part of the repository")
    body = RECORDED.read_bytes()
    of, day = processor(NAME), Partition.day(dt.date(2025, 6, 22), "America/New_York")
    lines: dict[str, list[dict[str, Any]]] = {table.name: [] for table in of.tables}
    admission = Admission(day, of.tables, lambda table: lambda line: lines[table].append(json.loads(line)))
    page = LandedPage("/drive/v3/files/A", (), 200, {}, NOW, body, item="[2025-06-22]-0042400407-IND@OKC.csv")
    for table, raw in of.rows(day, page):
        admission.take(table, raw)
    assert admission.rejects == []
    told = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    plays = lines["nba_bigdataball_plays"]
    assert [play["play_id"] for play in plays] == [int(row["play_id"]) for row in told] == list(range(1, 511))
    for column, name in (("event_type", "event_type"), ("event_detail", "type"), ("player", "player"), ("a1", "a1")):
        assert [play[column] or "" for play in plays] == [row[name] for row in told]
    assert Counter(play["points"] for play in plays) == Counter(
        int(row["points"]) if row["points"] else None for row in told
    )
    assert sum(play["original_x"] is None for play in plays) == sum(
        row["original_x"] in ("", "unknown") for row in told
    )
    (game,) = lines["nba_bigdataball_games"]
    assert (game["game_id"], game["away_team"], game["home_team"]) == ("0042400407", "IND", "OKC")
    for side, team in (("away", "IND"), ("home", "OKC")):
        points = sum(int(row["points"] or 0) for row in told if row["team"] == team)
        assert game[f"{side}_score"] == points
