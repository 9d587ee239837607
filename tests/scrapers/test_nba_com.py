"""The sources of NBA.com against a sample of both of its hosts that keeps their contract and their oddities."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting.errors import (
    BlockedBySource,
    CoverageLow,
    NothingPublished,
    PipelineError,
    SourceContractError,
    SourceUnavailable,
)
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.league import Calendar, Game, games_in
from deployments.local.upstreams.nba_answers import actions_of, player_lines
from deployments.local.upstreams.nba_upstream import NbaUpstream
from scrapers.base import Page, Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import account_of, scraper
from scrapers.scrape import ScrapeContext, scrape

NOW = dt.datetime(2024, 11, 20, 12, tzinfo=dt.UTC)
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "nba_com"
THIS_SEASON, ANOTHER = "2024-25", "2025-26"
HOSTS = {"nba_schedule": "/{site}", "nba_scoreboard": "/stats", "nba_boxscores": "/stats", "nba_gamelog": "/stats"}
HOSTS["nba_playbyplay"] = "/{site}"
DAY, EMPTY_DAY, LAST_DAY = dt.date(2024, 11, 15), dt.date(2024, 10, 2), dt.date(2024, 11, 19)
BY_DATE = ["nba_scoreboard", "nba_boxscores", "nba_gamelog", "nba_playbyplay"]
V2 = {"scoreboard_path": "/stats/scoreboardv2"}
V2_BOX = {**V2, "box_score_path": "/stats/boxscoretraditionalv2"}


class Bench:
    """Scrapes from the sample into memory."""

    def __init__(self, upstream: NbaUpstream) -> None:
        self.upstream = upstream
        self.store = MemoryObjectStore()

    def scrape(self, name: str, what: dt.date | str, **facts: Any) -> Manifest:
        source = self.source(name, **facts)
        partition = Partition.whole(what, source.zone) if isinstance(what, str) else Partition.day(what, source.zone)
        with self.client(source) as client:
            return scrape(partition, ScrapeContext(source, client, Landing(self.store), "b1", "0", now=lambda: NOW))

    def source(self, name: str, **facts: Any) -> Scraper:
        source = type(scraper(name))()
        for fact, value in facts.items():
            setattr(source, fact, value)
        return source

    def client(self, source: Scraper) -> SourceClient:
        access = SourceAccess(self.upstream.url + HOSTS[source.source], timeout_s=min(5.0, source.timeout_s))
        return SourceClient(source, access, Budget(Rate()))

    @property
    def paths(self) -> list[str]:
        return [request["path"] for request in self.upstream.calls.report()["requests"]]


@pytest.fixture(scope="module")
def shared() -> Iterator[NbaUpstream]:
    with NbaUpstream(now=NOW) as server:
        yield server


@pytest.fixture
def bench(shared: NbaUpstream) -> Bench:
    shared.now, shared.calendar = NOW, None
    shared.trouble()
    shared.calls.clear()
    return Bench(shared)


def recorded(name: str) -> bytes:
    """A payload that somebody recorded at the real site."""
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path.read_bytes()


def inspected(source: Scraper, partition: Partition, body: bytes, **request: Any) -> Any:
    asked = request.pop("asked", None) or source.first_request(partition)
    return source.inspect(partition, Page(asked, 1, 200, {}, body, NOW, 0.1))


def test_the_season_that_is_on_comes_from_the_file_of_the_one_host_in_one_call(bench: Bench) -> None:
    found = bench.scrape("nba_schedule", THIS_SEASON)
    assert found.counts == {"nba_schedule": len(games_in(2024))}
    assert bench.paths == ["/cdn/static/json/staticData/scheduleLeagueV2.json"]


def test_any_other_season_comes_from_the_other_host(bench: Bench) -> None:
    found = bench.scrape("nba_schedule", ANOTHER)
    assert found.counts == {"nba_schedule": len(games_in(2025))}
    assert bench.paths == ["/cdn/static/json/staticData/scheduleLeagueV2.json", "/stats/stats/scheduleleaguev2"]


def test_a_game_that_the_schedule_lists_three_times_is_one(bench: Bench) -> None:
    bench.upstream.set_season([{"kind": "triple", "game": "0022400561"}, {"kind": "double", "game": "0022400700"}])
    assert bench.scrape("nba_schedule", THIS_SEASON).counts == {"nba_schedule": len(games_in(2024))}


@pytest.mark.parametrize(
    ("kind", "season", "expected", "said"),
    [
        ("contradiction", THIS_SEASON, SourceContractError, "game 0012400001 is scheduled at 2 times"),
        ("empty", THIS_SEASON, NothingPublished, "without a game proves nothing"),
        ("number_id", THIS_SEASON, SourceContractError, "unexpected shape"),
        ("renamed", THIS_SEASON, SourceContractError, "gameStatus"),
        ("wrong_echo", ANOTHER, SourceContractError, "asked for the season 2025-26, got that of '2024-25'"),
        ("empty_body", THIS_SEASON, SourceUnavailable, "empty body"),
        ("access_denied", THIS_SEASON, BlockedBySource, "challenge"),
        ("html200", THIS_SEASON, BlockedBySource, "web page"),
    ],
)
def test_a_schedule_that_is_none_is_refused_for_what_it_is(
    bench: Bench, kind: str, season: str, expected: type[PipelineError], said: str
) -> None:
    bench.upstream.trouble({"kind": kind})
    with pytest.raises(expected, match=said):
        bench.scrape("nba_schedule", season)
    assert not [one.name for one in bench.store.list("landing/") if "manifest" in one.name]


def test_a_name_that_is_no_season_is_refused_without_a_call(bench: Bench) -> None:
    with pytest.raises(SourceContractError, match="one is written 2024-25"):
        bench.scrape("nba_schedule", "2024")
    assert not bench.paths


def test_whoever_is_no_browser_is_blocked_and_our_headers_are_those_of_one(bench: Bench) -> None:
    with pytest.raises(BlockedBySource):
        bench.scrape("nba_schedule", THIS_SEASON, headers={})
    assert bench.scrape("nba_schedule", THIS_SEASON).counts["nba_schedule"]


def test_a_block_of_one_host_leaves_the_schedule_of_the_other_alone(bench: Bench) -> None:
    bench.upstream.trouble({"kind": "access_denied", "path": "/stats/"})
    source = bench.source("nba_schedule")
    with bench.client(source) as client:
        context = ScrapeContext(source, client, Landing(bench.store), "b1", "0", now=lambda: NOW)
        for season, answers in ((ANOTHER, False), (THIS_SEASON, True), ("2026-27", False)):
            partition = Partition.whole(season, source.zone)
            if answers:
                assert scrape(partition, context).counts["nba_schedule"]
                continue
            with pytest.raises(BlockedBySource):
                scrape(partition, context)
    # The host that blocked one season is not asked for the next.
    assert bench.paths.count("/stats/stats/scheduleleaguev2") == 1


def test_the_recorded_schedule_has_its_games_and_their_tip_offs_in_true_utc() -> None:
    body = recorded("cdn_schedule_preseason_2025.json")
    source = scraper("nba_schedule")
    games = [game for date in json.loads(body)["leagueSchedule"]["gameDates"] for game in date["games"]]
    partition = Partition.whole(ANOTHER, source.zone)
    assert inspected(source, partition, body).counts == {"nba_schedule": len(games)}


def expected(name: str, games: list[Game]) -> dict[str, int]:
    """Rows by table, as the league's own box scores have them."""
    lines = [player_lines(game) for game in games]
    return {
        "nba_scoreboard": {"nba_games": len(games), "nba_team_lines": 2 * len(games)},
        "nba_boxscores": {
            "nba_team_boxscores": 2 * len(games),
            "nba_player_boxscores": sum(listed for listed, _ in lines),
        },
        "nba_gamelog": {
            "nba_gamelog_teams": 2 * len(games),
            "nba_gamelog_players": sum(played for _, played in lines),
        },
        "nba_playbyplay": {"nba_pbp": sum(len(actions_of(game)) for game in games)},
    }[name]


def played(date: dt.date) -> list[Game]:
    return list(Calendar().played_on(date))


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("nba_scoreboard", {}),
        ("nba_scoreboard", V2),
        ("nba_boxscores", {}),
        ("nba_boxscores", V2_BOX),
        ("nba_gamelog", {}),
        ("nba_playbyplay", {}),
    ],
)
def test_a_date_has_all_of_its_games_in_either_shape(bench: Bench, name: str, facts: dict[str, str]) -> None:
    games = played(DAY)
    assert len(games) > 5
    found = bench.scrape(name, DAY, **facts)
    assert found.counts == expected(name, games)
    calls = {"nba_scoreboard": 1, "nba_boxscores": 1 + len(games), "nba_gamelog": 3, "nba_playbyplay": 1 + len(games)}
    assert len(bench.paths) == calls[name]


@pytest.mark.parametrize("name", BY_DATE)
@pytest.mark.parametrize("facts", [{}, V2], ids=["v3", "v2"])
def test_a_date_without_games_is_proven_empty_by_its_own_list(bench: Bench, name: str, facts: dict[str, str]) -> None:
    found = bench.scrape(name, EMPTY_DAY, **facts)
    assert not any(found.counts.values())
    assert found.empty_evidence == "200, 0 games of 2024-10-02 are listed"


@pytest.mark.parametrize("name", BY_DATE)
@pytest.mark.parametrize(("kind", "facts"), [("repeated", {}), ("repeated", V2), ("shuffled", V2), ("singular", V2)])
def test_repeated_games_and_other_columns_change_nothing(
    bench: Bench, name: str, kind: str, facts: dict[str, str]
) -> None:
    bench.upstream.trouble({"kind": kind, "path": "/scoreboard"})
    assert bench.scrape(name, DAY, **facts).counts == expected(name, played(DAY))


@pytest.mark.parametrize("kind", ["v2", "shuffled", "singular"])
@pytest.mark.parametrize("name", ["nba_boxscores", "nba_gamelog"])
def test_the_shape_of_an_item_changes_nothing(bench: Bench, name: str, kind: str) -> None:
    for path in ("/boxscore", "/leaguegamelog"):
        bench.upstream.trouble({"kind": kind, "path": path})
        assert bench.scrape(name, DAY).counts == expected(name, played(DAY))


@pytest.mark.parametrize("name", BY_DATE)
@pytest.mark.parametrize("facts", [{}, V2], ids=["v3", "v2"])
def test_a_postponed_game_is_named_and_is_no_hole(bench: Bench, name: str, facts: dict[str, str]) -> None:
    games = played(DAY)
    bench.upstream.trouble({"kind": "postponed"})
    found = bench.scrape(name, DAY, **facts)
    assert found.counts == expected(name, games[1:])
    first = games[0]
    assert found.absent == (f"{first.nba_id} {first.visitor.tricode}{first.home.tricode} (PPD)",)
    assert not found.unsettled


@pytest.mark.parametrize("name", BY_DATE)
@pytest.mark.parametrize("facts", [{}, V2], ids=["v3", "v2"])
def test_a_game_that_is_not_over_keeps_its_date_open(bench: Bench, name: str, facts: dict[str, str]) -> None:
    bench.upstream.trouble({"kind": "live"})
    found = bench.scrape(name, LAST_DAY, **facts)
    assert found.counts == expected(name, played(LAST_DAY)[1:])
    assert [item.rpartition(" (")[2] for item in found.unsettled] == ["Q3 4:12)"]


BOARD, BOX, LOG, PLAYS = "/scoreboard", "/boxscore", "/leaguegamelog", "/playbyplay"
REFUSED: list[tuple[str, dict[str, str], str, str, type[PipelineError], str]] = [
    ("nba_scoreboard", {}, "wrong_echo", BOARD, SourceContractError, "asked for 2024-11-15, got the games of"),
    ("nba_scoreboard", V2, "wrong_echo", BOARD, SourceContractError, "asked for GameDate 2024-11-15"),
    ("nba_scoreboard", {}, "contradiction", BOARD, SourceContractError, "is listed twice and differently"),
    ("nba_scoreboard", {}, "one_line", BOARD, CoverageLow, "has points of 1 of its 2 teams"),
    ("nba_scoreboard", V2, "one_line", BOARD, CoverageLow, "has points of 1 of its 2 teams"),
    ("nba_scoreboard", {}, "number_id", BOARD, SourceContractError, "id, code or status"),
    ("nba_scoreboard", V2, "number_id", BOARD, SourceContractError, "id, code or status"),
    ("nba_scoreboard", {}, "renamed", BOARD, SourceContractError, "unexpected shape"),
    ("nba_scoreboard", V2, "renamed", BOARD, SourceContractError, "unexpected shape"),
    ("nba_boxscores", {}, "wrong_echo", BOX, SourceContractError, "asked for the box score of"),
    ("nba_boxscores", V2_BOX, "wrong_echo", BOX, SourceContractError, "asked for GameID"),
    ("nba_boxscores", {}, "no_players", BOX, CoverageLow, "players who played"),
    ("nba_boxscores", V2_BOX, "no_players", BOX, CoverageLow, "whose players are there"),
    ("nba_boxscores", V2_BOX, "empty", BOX, CoverageLow, "whose players are there"),
    ("nba_boxscores", {}, "double_row", BOX, CoverageLow, "has a player twice"),
    ("nba_boxscores", V2_BOX, "double_row", BOX, CoverageLow, "has a player twice"),
    ("nba_boxscores", {}, "number_id", BOX, SourceContractError, "asked for the box score of"),
    ("nba_boxscores", {}, "renamed", BOX, SourceContractError, "points"),
    ("nba_gamelog", {}, "wrong_echo", LOG, SourceContractError, "asked for DateFrom 2024-11-15"),
    ("nba_gamelog", {}, "empty", LOG, CoverageLow, "items are listed"),
    ("nba_gamelog", {}, "lost_game", LOG, CoverageLow, "lines"),
    ("nba_gamelog", {}, "double_row", LOG, CoverageLow, "a line twice"),
    ("nba_gamelog", {}, "number_id", LOG, SourceContractError, "got game"),
    ("nba_gamelog", {}, "renamed", LOG, SourceContractError, "PTS"),
    ("nba_playbyplay", {}, "cut", PLAYS, CoverageLow, "stop before its end"),
    ("nba_playbyplay", {}, "empty", PLAYS, CoverageLow, "stop before its end"),
    ("nba_playbyplay", {}, "double_row", PLAYS, CoverageLow, "actions under"),
    ("nba_playbyplay", {}, "wrong_echo", PLAYS, SourceContractError, "got those of 0022300001"),
    ("nba_playbyplay", {}, "renamed", PLAYS, SourceContractError, "actionNumber"),
    *[
        (name, {}, kind, "/stats/", refusal, r"status (403|200)")
        for name in BY_DATE
        for kind, refusal in (
            ("access_denied", BlockedBySource),
            ("html200", BlockedBySource),
            ("empty_body", SourceUnavailable),
        )
    ],
]


@pytest.mark.parametrize(("name", "facts", "kind", "path", "refusal", "said"), REFUSED)
def test_an_answer_that_is_not_the_whole_of_its_date_is_refused_for_what_it_is(
    bench: Bench,
    name: str,
    facts: dict[str, str],
    kind: str,
    path: str,
    refusal: type[PipelineError],
    said: str,
) -> None:
    bench.upstream.trouble({"kind": kind, "path": path})
    with pytest.raises(refusal, match=said):
        bench.scrape(name, DAY, **facts)
    assert not [one.name for one in bench.store.list("landing/") if "manifest" in one.name]


@pytest.mark.parametrize("name", BY_DATE)
def test_a_connection_that_hangs_is_an_outage(bench: Bench, name: str) -> None:
    bench.upstream.trouble({"kind": "hang"})
    with pytest.raises(SourceUnavailable, match="no response within"):
        bench.scrape(name, DAY, timeout_s=0.3)


def test_a_game_without_a_file_is_named_and_the_others_are_there(bench: Bench) -> None:
    games = played(DAY)
    missing = games[2]
    bench.upstream.trouble({"kind": "missing", "path": missing.nba_id})
    found = bench.scrape("nba_playbyplay", DAY)
    assert found.absent == (missing.nba_id,)
    assert found.counts == expected("nba_playbyplay", [game for game in games if game != missing])
    assert [page.status for page in found.pages if page.is_absent] == [403]


def test_a_date_of_which_no_game_has_a_file_is_not_empty(bench: Bench) -> None:
    bench.upstream.trouble({"kind": "missing", "path": PLAYS})
    found = bench.scrape("nba_playbyplay", DAY)
    assert not any(found.counts.values())
    assert found.empty_evidence == ""


def test_a_block_of_the_files_is_a_block_and_no_missing_game(bench: Bench) -> None:
    bench.upstream.trouble({"kind": "access_denied", "path": PLAYS})
    with pytest.raises(BlockedBySource, match="challenge page came with status 403"):
        bench.scrape("nba_playbyplay", DAY)
    assert bench.scrape("nba_scoreboard", DAY).counts == expected("nba_scoreboard", played(DAY))


def test_the_sources_are_two_accounts() -> None:
    accounts = {name: account_of(name) for name in HOSTS}
    assert accounts == {
        **dict.fromkeys(("nba_schedule", "nba_playbyplay"), "nba_cdn"),
        **dict.fromkeys(("nba_scoreboard", "nba_boxscores", "nba_gamelog"), "nba_stats"),
    }
