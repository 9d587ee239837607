"""Tables of NBA.com against the generated season, and against payloads that were recorded at the real site."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.local.upstreams.league import games_in, usual_changes
from deployments.local.upstreams.nba_upstream import NbaUpstream
from processors.base import LandedPage
from processors.load_plan import pack
from processors.registry import processor
from scrapers.base import Rate, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

NOW = dt.datetime(2024, 11, 20, 12, tzinfo=dt.UTC)
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "nba_com"
HOSTS = {"nba_schedule": "/{site}"}
SEASON = "2024-25"
Load = Callable[..., list[Manifest]]


@pytest.fixture(scope="module")
def shared() -> Iterator[NbaUpstream]:
    with NbaUpstream(now=NOW) as server:
        yield server


@pytest.fixture
def upstream(shared: NbaUpstream) -> NbaUpstream:
    shared.now, shared.calendar = NOW, None
    shared.trouble()
    return shared


@pytest.fixture
def load(bench: Any, upstream: NbaUpstream) -> Load:
    """Fetches partitions of a source, loads them in as few batches as can be, and recounts them."""

    def load(name: str, *wanted: dt.date | str) -> list[Manifest]:
        source = scraper(name)
        bench.processor = processor(name)
        access = SourceAccess(upstream.url + HOSTS[name])
        with SourceClient(source, access, Budget(Rate())) as client:
            context = ScrapeContext(source, client, bench.landing, "b1", "0", now=lambda: upstream.now or NOW)
            manifests = [
                scrape(
                    Partition.whole(one, source.zone) if isinstance(one, str) else Partition.day(one, source.zone),
                    context,
                )
                for one in wanted
            ]
        for batch in pack(manifests):
            receipt = bench.process(*batch, accept_shrink=False)
            assert receipt.failures == {}
            assert (receipt.unknown_fields, receipt.absent_fields) == ({}, {})
            assert all(one.is_ok for one in bench.verify(*batch, receipt=receipt).values())
        return manifests

    return load


def rows_of(name: str, partition: Partition, body: bytes, *, path: str = "/x", **params: str) -> list[Any]:
    """Rows by table, each checked by its model, as a load does it."""
    of = processor(name)
    models = {table.name: table.model for table in of.tables}
    page = LandedPage(path, tuple(params.items()), 200, {}, NOW, body)
    return [(table, models[table](**row)) for table, row in of.rows(partition, page)]


def recorded(name: str) -> bytes:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path.read_bytes()


def test_a_season_is_loaded_as_the_league_has_it(bench: Any, load: Load) -> None:
    load("nba_schedule", SEASON)
    truth = games_in(2024)
    found = {row[0]: row[1:] for row in bench.rows("nba_schedule", "game_id", "game_date", "game_kind", "tip_off_at")}
    assert found == {game.nba_id: (game.date, game.kind, game.tip_off) for game in truth}
    scores = bench.rows("nba_schedule", "game_id", "status", "home_score", "away_score", "home_team_id")
    over = {game.nba_id: game for game in truth if game.date < dt.date(2024, 11, 20)}
    assert len(over) > 100
    for game_id, status, home, away, team in scores:
        expected: tuple[Any, ...] = (1, None, None)
        if game_id in over:
            box = over[game_id].box_score()
            expected = (3, box.home.score, box.visitor.score)
        assert (status, home, away) == expected
        assert team == next(game for game in truth if game.nba_id == game_id).home.nba_id


def test_a_later_schedule_moves_a_postponed_game_and_leaves_a_tombstone_of_a_dropped_one(
    bench: Any, load: Load, upstream: NbaUpstream
) -> None:
    postponed = next(game for game in games_in(2024) if game.nba_id == usual_changes(2024)[0].game)
    dropped = next(game for game in games_in(2024) if game.kind == "playoffs")
    seen: list[tuple[Any, ...]] = []

    def look(on: dt.date) -> None:
        upstream.now = dt.datetime.combine(on, dt.time(12), dt.UTC)
        load("nba_schedule", SEASON)
        told = bench.rows("nba_schedule", "game_id", "game_date", "is_postponed", "status_text", "deleted_at IS NULL")
        seen.append(next(row for row in told if row[0] == postponed.nba_id))
        assert len(told) == len(games_in(2024))

    changes = [change.model_dump() for change in usual_changes(2024)[:1]]
    upstream.set_season(changes)
    look(postponed.date)
    upstream.set_season([*changes, {"kind": "drop", "game": dropped.nba_id}])
    look(postponed.date + dt.timedelta(days=2))
    assert seen[0][1:] == (postponed.date, True, "PPD", True)
    assert seen[1][1] > postponed.date
    assert seen[1][2] is False
    gone = bench.rows("nba_schedule", "game_id", "deleted_at IS NULL")
    assert [game_id for game_id, is_current in gone if not is_current] == [dropped.nba_id]


def test_the_recorded_schedule_becomes_a_row_a_game_with_its_tip_off_in_true_utc() -> None:
    body = recorded("cdn_schedule_preseason_2025.json")
    found = rows_of("nba_schedule", Partition.whole("2025-26", "America/New_York"), body)
    games = [game for date in json.loads(body)["leagueSchedule"]["gameDates"] for game in date["games"]]
    utc = {game["gameId"]: dt.datetime.fromisoformat(game["gameDateTimeUTC"]) for game in games}
    assert {row.game_id: row.tip_off_at for _, row in found} == utc
    assert Counter(row.game_kind for _, row in found) == {"preseason": len(games)}


@pytest.mark.parametrize(
    ("game_id", "kind"),
    [
        ("0012400001", "preseason"),
        ("0022400561", "regular"),
        ("0032400001", "all_star"),
        ("0042400101", "playoffs"),
        ("0052400101", "play_in"),
        ("0062400001", "cup_final"),
        ("0092400001", "other"),
    ],
)
def test_the_kind_of_a_game_is_read_off_its_id(game_id: str, kind: str) -> None:
    game = {
        **{"gameId": game_id, "gameStatus": 1, "gameStatusText": "TBD", "gameDateEst": "2025-05-04T00:00:00Z"},
        **{"gameDateTimeEst": "2025-05-04T00:00:00Z", "homeTeam": None, "awayTeam": None},
    }
    game |= {f"{side}Team": {"teamId": 0, "teamTricode": "", "score": 0} for side in ("home", "away")}
    document = {"leagueSchedule": {"seasonYear": SEASON, "gameDates": [{"games": [game]}]}}
    [(_, row)] = rows_of("nba_schedule", Partition.whole(SEASON, "America/New_York"), json.dumps(document).encode())
    assert (row.game_kind, row.tip_off_at, row.home_team_id) == (kind, None, None)
