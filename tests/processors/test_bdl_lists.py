"""The lists of Ball Don't Lie from the sample's pages to recounted rows, and payloads recorded at the real API."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting.errors import NothingPublished, NotSettled, PartitionUnavailable, SourceContractError
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.bdl_answers import all_players, games_of, injuries_on, players_of, stats_of, teams
from deployments.local.upstreams.box_scores_upstream import Upstream
from deployments.local.upstreams.league import Calendar, games_in
from processors.base import LandedPage
from processors.registry import processor
from scrapers.base import Page, Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

NOW = dt.datetime(2025, 1, 20, 17, tzinfo=dt.UTC)
TODAY, DAY, NO_GAMES = NOW.date(), dt.date(2025, 1, 3), dt.date(2024, 12, 24)
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "balldontlie"
LISTS = ["bdl_games", "bdl_stats"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Upstream]:
    with Upstream(now=NOW) as server:
        yield server


@pytest.fixture
def upstream(shared: Upstream) -> Upstream:
    shared.now, shared.calendar, shared.tier = NOW, None, "goat"
    shared.trouble()
    shared.calls.clear()
    return shared


def partition_of(source: Scraper, what: dt.date | str) -> Partition:
    return Partition.whole(what, source.zone) if isinstance(what, str) else Partition.day(what, source.zone)


def scraped(
    upstream: Upstream, name: str, what: dt.date | str, landing: Landing | None = None, size: int = 0
) -> Manifest:
    source = type(scraper(name))()
    source.page_size = size or source.page_size
    access = SourceAccess(upstream.url, {"bdl_api_key": upstream.api_key})
    with SourceClient(source, access, Budget(Rate())) as client:
        place = landing or Landing(MemoryObjectStore())
        return scrape(partition_of(source, what), ScrapeContext(source, client, place, "b1", "0", now=lambda: NOW))


@pytest.fixture
def load(bench: Any, upstream: Upstream) -> Callable[..., Manifest]:
    """Fetches a partition, loads it, and recounts it."""

    def load(name: str, what: dt.date | str) -> Manifest:
        bench.processor = processor(name)
        manifest = scraped(upstream, name, what, bench.landing)
        receipt = bench.process(manifest)
        assert receipt.failures == {}
        assert (receipt.unknown_fields, receipt.absent_fields, receipt.unbalanced) == ({}, {}, {})
        assert all(one.is_ok for one in bench.verify(manifest, receipt=receipt).values())
        return manifest

    return load


def calls(upstream: Upstream) -> list[dict[str, Any]]:
    return list(upstream.calls.report()["requests"])


def test_games_are_those_of_the_league_with_both_of_their_teams(bench: Any, load: Any) -> None:
    load("bdl_games", DAY)
    truth = list(games_of(Calendar(), [DAY], TODAY))
    games = bench.rows("nba_bdl_game_list", "bdl_game_id", "home_team_score", "visitor_team_abbreviation", "season")
    assert games == sorted(
        (game["id"], game["home_team_score"], game["visitor_team"]["abbreviation"], 2024) for game in truth
    )
    sides = bench.rows("nba_bdl_game_teams", "bdl_game_id", "team_id", "is_home", "pts")
    assert sides == sorted(
        (game["id"], game[f"{side}_team"]["id"], side == "home", game[f"{side}_team_score"])
        for game in truth
        for side in ("home", "visitor")
    )


def test_lines_of_a_date_come_in_pages_and_are_those_of_the_league(bench: Any, load: Any, upstream: Upstream) -> None:
    manifest = load("bdl_stats", DAY)
    truth = list(stats_of(Calendar(), [DAY], TODAY))
    assert len(truth) > 300
    assert len(manifest.pages) == len(calls(upstream)) == -(-len(truth) // 100)
    lines = bench.rows("nba_bdl_stats", "stat_id", "bdl_game_id", "player_id", "team_id", "minutes", "pts")
    assert lines == sorted(
        (line["id"], line["game"]["id"], line["player"]["id"], line["team"]["id"], line["min"], line["pts"])
        for line in truth
    )


def test_lists_of_players_and_teams_are_whole_and_who_is_gone_stays_as_a_tombstone(
    bench: Any, load: Any, upstream: Upstream
) -> None:
    load("bdl_players", "active")
    load("bdl_teams", "teams")
    assert [row[0] for row in bench.rows("nba_bdl_active_players", "player_id")] == [
        one["id"] for one in players_of(2024)
    ]
    blanks = bench.rows("nba_bdl_teams", "team_id", "conference")
    assert [team for team, conference in blanks if conference is None] == [
        one["id"] for one in teams() if one["id"] > 30
    ]
    upstream.now = NOW.replace(year=2026)
    load("bdl_players", "active")
    current = bench.rows("nba_bdl_active_players", "player_id", "deleted_at IS NULL")
    assert [player for player, is_current in current if is_current] == [one["id"] for one in players_of(2025)]
    assert len(current) > len(players_of(2025))


def test_the_list_of_all_players_is_read_in_pages_to_its_end(upstream: Upstream) -> None:
    manifest = scraped(upstream, "bdl_players", "players")
    assert manifest.counts == {"nba_bdl_players": len(all_players(2024)), "nba_bdl_active_players": 0}
    assert len(manifest.pages) == -(-len(all_players(2024)) // 100)


def test_injuries_are_those_of_the_day_and_a_day_at_which_nobody_looked_has_none(
    bench: Any, load: Any, upstream: Upstream
) -> None:
    load("bdl_injuries", TODAY)
    found = bench.rows("nba_bdl_injuries", "player_id", "status", "return_date", "seen_on")
    assert found == sorted((one["id"], one["status"], one["return_date"], TODAY) for one in injuries_on(TODAY))
    asked = len(calls(upstream))
    with pytest.raises(PartitionUnavailable, match="nobody looked that day"):
        scraped(upstream, "bdl_injuries", TODAY - dt.timedelta(days=1))
    assert len(calls(upstream)) == asked


def test_two_reports_of_a_player_on_a_day_are_two_rows_and_the_same_one_is_the_same() -> None:
    first, *_ = injuries_on(TODAY)
    body = json.dumps({"data": [first, {**first, "description": "He is out for longer."}]}).encode()
    page = LandedPage("/v1/player_injuries", (), 200, {}, NOW, body)
    kit, day = processor("bdl_injuries"), Partition.day(TODAY, "America/New_York")
    once, again = ([row for _, row in kit.rows(day, page)] for _ in range(2))
    assert once == again
    (table,) = kit.tables
    assert len({tuple(row[name] for name in table.key) for row in once}) == 2


def test_a_page_size_of_a_setting_gives_the_same_rows_in_more_calls(upstream: Upstream) -> None:
    one, other = scraped(upstream, "bdl_stats", DAY), scraped(upstream, "bdl_stats", DAY, size=40)
    assert one.counts == other.counts
    assert len(other.pages) > 2 * len(one.pages)


def test_an_empty_list_of_games_is_a_proof_and_one_of_lines_is_none(upstream: Upstream) -> None:
    assert scraped(upstream, "bdl_games", NO_GAMES).empty_evidence == "200, an empty list"
    with pytest.raises(NothingPublished, match="proves nothing"):
        scraped(upstream, "bdl_stats", NO_GAMES)


@pytest.mark.parametrize(
    ("name", "kind", "expected", "said"),
    [
        ("bdl_games", "wrong_date", SourceContractError, "asked for 2025-01-03, got game .* of 2025-01-02"),
        ("bdl_stats", "wrong_date", SourceContractError, "asked for 2025-01-03, got game .* of 2025-01-02"),
        ("bdl_games", "duplicate_game", NotSettled, "a row came on two pages"),
        ("bdl_stats", "shifted_page", NotSettled, "a row came on two pages"),
        ("bdl_stats", "lost_cursor", NotSettled, "1 of 100 rows gone at the second reading"),
        ("bdl_stats", "empty", NothingPublished, "an empty list of /v1/stats proves nothing"),
        ("bdl_games", "renamed_field", SourceContractError, "/v1/games has an unexpected shape: KeyError 'id'"),
        ("bdl_stats", "null_id", SourceContractError, "unexpected shape"),
    ],
)
def test_a_list_that_is_none_is_refused_for_what_it_is(
    upstream: Upstream, name: str, kind: str, expected: type[Exception], said: str
) -> None:
    upstream.trouble({"kind": kind})
    with pytest.raises(expected, match=said):
        scraped(upstream, name, DAY)


def test_a_last_page_that_says_null_is_the_last_one(upstream: Upstream) -> None:
    good = scraped(upstream, "bdl_stats", DAY)
    upstream.trouble({"kind": "null_cursor"})
    assert scraped(upstream, "bdl_stats", DAY).counts == good.counts


def test_a_full_last_page_is_believed_after_a_second_reading_in_pages_of_another_size(upstream: Upstream) -> None:
    count = len(list(games_of(Calendar(), [DAY], TODAY)))
    manifest = scraped(upstream, "bdl_games", DAY, size=count)
    assert manifest.counts["nba_bdl_game_list"] == count

    assert len(calls(upstream)) == 3


@pytest.mark.parametrize("name", LISTS)
def test_a_game_that_is_not_over_is_named_and_has_no_rows(upstream: Upstream, name: str) -> None:
    upstream.trouble({"kind": "not_final"})
    manifest = scraped(upstream, name, DAY)
    # The sample says so of the first game of each page; one that lies on two pages is named once.
    named = (*manifest.unsettled, *manifest.open_items)
    assert all("(3rd Qtr)" in one for one in named)
    assert len(set(named)) == len(named) == len(manifest.pages)


def test_a_line_of_a_team_that_is_not_in_the_game_is_refused() -> None:
    (line, *_) = stats_of(Calendar(), [DAY], TODAY)
    body = json.dumps({"data": [{**line, "team": {"id": 99}}], "meta": {"per_page": 100}}).encode()
    source = scraper("bdl_stats")
    partition = Partition.day(DAY, source.zone)
    with pytest.raises(SourceContractError, match="is of team 99, which is not in game"):
        source.inspect(partition, Page(source.first_request(partition), 1, 200, {}, body, NOW, 0.1))


@pytest.mark.parametrize("kind", ["drop_top_scorer", "drop_last_player", "wrong_score"])
def test_points_that_do_not_add_up_are_told(bench: Any, upstream: Upstream, kind: str) -> None:
    upstream.trouble({"kind": kind})
    bench.processor = processor("bdl_stats")
    receipt = bench.process(scraped(upstream, "bdl_stats", DAY, bench.landing))
    assert receipt.failures == {}
    assert "nba_bdl_stats.pts sums to" in receipt.unbalanced[str(DAY)][0]


def test_a_game_that_comes_under_its_old_id_on_another_date_is_refused_and_named(
    bench: Any, load: Any, upstream: Upstream
) -> None:
    load("bdl_games", DAY)
    moved = next(game for game in games_in(2024) if game.date == DAY and game.bdl_id is not None)
    upstream.set_season([{"kind": "double", "game": moved.nba_id, "to": str(DAY + dt.timedelta(days=1))}])
    receipt = bench.process(scraped(upstream, "bdl_games", DAY + dt.timedelta(days=1), bench.landing))
    (error,) = receipt.failures.values()
    assert error.error_type == "CoverageLow"
    assert "DUPLICATE: nba_bdl_game_list: also outside the partition: 1 value of bdl_game_id" in error.message
    assert f": {moved.bdl_id} (also on {DAY})" in error.message


def rows_of(name: str, partition: Partition, body: bytes) -> list[Any]:
    of = processor(name)
    models = {table.name: table.model for table in of.tables}
    page = LandedPage("/x", (), 200, {}, NOW, body)
    found = []
    for table, raw in of.rows(partition, page):
        ignored = next(one.ignored for one in of.tables if one.name == table)
        found.append((table, models[table](**{key: value for key, value in raw.items() if key not in ignored})))
    return found


@pytest.mark.fixtures
@pytest.mark.skipif(not FIXTURES.exists(), reason="no recorded payloads here")
@pytest.mark.parametrize(
    ("name", "key", "file", "count"),
    [
        ("bdl_games", dt.date(2025, 2, 20), "games_one_day.json", 9),
        ("bdl_stats", dt.date(2025, 6, 22), "stats_one_page.json", 30),
        ("bdl_players", "active", "active_players_page1.json", 100),
    ],
)
def test_a_recorded_page_is_read_whole(name: str, key: dt.date | str, file: str, count: int) -> None:
    body, source = (FIXTURES / file).read_bytes(), scraper(name)
    partition = partition_of(source, key)
    found = source.inspect(partition, Page(source.first_request(partition), 1, 200, {}, body, NOW, 0.1))
    assert max(found.counts.values()) == count * (2 if name == "bdl_games" else 1)
    assert len(set(found.keys)) == count
    # The first page of the players names its next one, the last page of a list does not have the key.
    assert (found.next_request.cursor if found.next_request else "") == ("277" if name == "bdl_players" else "")
    rows = rows_of(name, partition, body)
    assert len(rows) == sum(found.counts.values())
    if name == "bdl_stats":
        points = {side: sum(row.pts for _, row in rows if row.team_abbreviation == side) for side in ("OKC", "IND")}
        assert points == {"OKC": rows[0][1].home_team_score, "IND": rows[0][1].visitor_team_score}


def test_an_exception_about_a_list_says_what_to_type_for_a_partition_that_has_no_dates(
    bench: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.processor = processor("bdl_players")
    manifest = scraped(upstream, "bdl_players", "active", bench.landing)
    monkeypatch.setattr(type(bench.processor), "rows", lambda *_: {}["id"])
    told = bench.process(manifest).refused()["active"]
    assert "gapless reprocess bdl_players --entities active --reason schema_change" in told.hint
