"""BigDataBall's files against a sample of Drive: what is listed, what is downloaded, and what is never believed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    BudgetExhausted,
    CoverageLow,
    NothingPublished,
    NotSettled,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
)
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.bigdataball_files import COLUMNS as FILE_COLUMNS
from deployments.local.upstreams.bigdataball_files import rows_of
from deployments.local.upstreams.drive_upstream import DriveUpstream
from deployments.local.upstreams.league import Calendar, Change
from scrapers.base import Page, Request, SourceAccess
from scrapers.client import SourceClient
from scrapers.csv_bodies import parsed_csv
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape
from scrapers.sources.bigdataball_playbyplay import COLUMNS

NOW = dt.datetime(2025, 3, 20, 12, tzinfo=dt.UTC)
NAME = "bigdataball_playbyplay"
QUIET = dt.date(2025, 5, 15)
DAY = next(date for date in (dt.date(2025, 1, 7) + dt.timedelta(days=n) for n in range(99))
           if 1 < len(Calendar().listed_on(date)) < 5)  # fmt: skip
GAMES = [one.game for one in Calendar().listed_on(DAY)]


class Bench:
    def __init__(self, upstream: DriveUpstream) -> None:
        self.upstream, self.landing = upstream, Landing(MemoryObjectStore())
        self.scraper = type(scraper(NAME))()
        self.scraper.page_size = 100
        access = SourceAccess(upstream.url, {"drive_service_account": upstream.key_file}, timeout_s=60)
        self.client = SourceClient(self.scraper, access, Budget(Rate()), patience_s=0.0)

    def scrape(self, date: dt.date = DAY) -> Manifest:
        context = ScrapeContext(
            scraper=self.scraper,
            client=self.client,
            landing=self.landing,
            backfill_id="b1",
            code_version="0",
            now=self.upstream.clock,
        )
        return scrape(Partition.day(date, self.scraper.zone), context)

    def paths(self) -> list[str]:
        return [call["path"] for call in self.upstream.calls.report()["requests"]]


@pytest.fixture(scope="module")
def shared() -> Iterator[DriveUpstream]:
    with DriveUpstream(now=NOW) as server:
        yield server


@pytest.fixture
def bench(shared: DriveUpstream) -> Iterator[Bench]:
    shared.now, shared.calendar = NOW, Calendar()
    shared.trouble()
    found = Bench(shared)
    shared.calls.clear()
    yield found
    found.client.close()


def test_a_date_is_its_list_and_one_file_a_game_each_with_its_name_and_version(bench):
    manifest = bench.scrape()
    files = {file.name: file for file in bench.upstream.files(DAY) if file.game}
    items = [page for page in manifest.pages if page.item]
    assert [page.item for page in items] == sorted(files)
    assert manifest.counts == {
        "nba_bigdataball_games": len(GAMES),
        "nba_bigdataball_plays": sum(len(rows_of(game)) for game in GAMES),
    }
    for page in items:
        body, file = bench.landing.read_page(page), files[page.item]
        assert (body, page.path.split("/")[-1]) == (file.content, file.id)
        assert manifest.versions[page.item].split()[:2] == [file.id, hashlib.md5(body).hexdigest()]
    assert bench.client.calls == 1 + len(GAMES)


def test_the_search_is_inexact_and_files_of_other_dates_and_combined_statistics_are_left_out(bench):
    listed = bench.client.fetch(bench.scraper.first_request(Partition.day(dt.date(2025, 1, 3), "America/New_York")))
    names = {file["name"][:12] for file in json.loads(listed.body)["files"]}
    assert names == {"[2025-01-03]", "[2025-03-01]"}, "as Drive searches"
    manifest = bench.scrape(dt.date(2025, 1, 3))
    assert {name[:12] for name in manifest.versions} == {"[2025-01-03]"}
    assert len(manifest.versions) == len(Calendar().listed_on(dt.date(2025, 1, 3)))


def test_a_long_list_comes_in_pages_and_a_killed_attempt_goes_on_behind_them(bench):
    bench.scraper.page_size = 1
    bench.upstream.trouble({"kind": "500", "path": "/files/", "times": 1})
    with pytest.raises(SourceUnavailable):
        bench.scrape()
    before = bench.client.calls
    manifest = bench.scrape()
    assert len(manifest.versions) == len(GAMES)
    assert bench.client.calls - before == len(GAMES), "no page of the list was asked for again"


def test_on_the_busiest_date_a_killed_attempt_goes_on_and_every_page_keeps_little_of_itself(bench, monkeypatch):
    days = (dt.date(2025, 1, 1) + dt.timedelta(days=number) for number in range(60))
    busiest = max(days, key=lambda day: len(Calendar().listed_on(day)))
    games = len(Calendar().listed_on(busiest))
    assert games > 12
    fetch = bench.client.fetch

    def dies_at_the_third_file(request, number=1):
        if number == 4:
            raise SourceUnavailable("gone")
        return fetch(request, number)

    with monkeypatch.context() as dying:
        dying.setattr(bench.client, "fetch", dies_at_the_third_file)
        with pytest.raises(SourceUnavailable):
            bench.scrape(busiest)
    before = bench.client.calls
    manifest = bench.scrape(busiest)
    assert (manifest.counts["nba_bigdataball_games"], bench.client.calls - before) == (games, games - 2)
    assert manifest.resumed_pages == 3
    assert [page.cursor for page in manifest.pages[1:]] == [page.next_cursor for page in manifest.pages[:-1]]
    kept = [json.dumps(dict(one.metadata)) for one in bench.landing.store.list("landing/")]
    assert max(map(len, kept)) < 3_300, "the local store has 4 KB for all that it knows of an object"


def test_an_empty_list_is_asked_for_twice_and_proves_nothing(bench):
    with pytest.raises(NothingPublished, match="two lists in a row"):
        bench.scrape(QUIET if not Calendar().listed_on(QUIET) else dt.date(2025, 2, 14))
    assert bench.client.calls == 2


def test_a_list_that_is_empty_once_and_then_full_is_read_as_full(bench):
    bench.upstream.trouble({"kind": "empty_list", "times": 1})
    assert bench.scrape().counts["nba_bigdataball_games"] == len(GAMES)


def test_of_two_uploads_of_a_game_the_newer_one_is_read(bench):
    bench.upstream.trouble({"kind": "older_twin"})
    assert bench.scrape().counts["nba_bigdataball_games"] == len(GAMES)


def test_a_file_deleted_or_changed_after_it_was_listed_is_listed_again(bench):
    for kind in ("deleted", "changed_meanwhile", "cut_line"):
        bench.upstream.trouble({"kind": kind, "path": "/files/", "times": 1})
        assert bench.scrape().counts["nba_bigdataball_games"] == len(GAMES)


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("user_rate_limit", "", RateLimited),
        ("429", "", RateLimited),
        ("daily_limit", "", BudgetExhausted),
        ("no_right", "", AuthenticationError),
        ("wrong_names", "", NothingPublished),
        ("incomplete_search", "", SourceUnavailable),
        ("bad_json", "", SourceUnavailable),
        ("deleted", "/files/", NotSettled),
        ("changed_meanwhile", "/files/", NotSettled),
        ("cut_csv", "/files/", SourceUnavailable),
        ("cut_line", "/files/", NotSettled),
        ("other_header", "", SourceContractError),
        ("open_quote", "", SourceContractError),
        ("other_game", "", SourceContractError),
        ("html200", "/files/", BlockedBySource),
        ("html403", "/files/", BlockedBySource),
        ("bad_json", "/files/", SourceUnavailable),
    ],
)
def test_what_is_no_answer_is_refused_for_what_it_is(bench, kind, path, expected):
    bench.upstream.trouble({"kind": kind, "path": path or "/drive/"})
    with pytest.raises(expected) as caught:
        bench.scrape()
    assert type(caught.value) is expected


def test_a_daily_limit_closes_the_account_until_its_day_ends(bench):
    bench.upstream.trouble({"kind": "daily_limit", "path": "/drive/"})
    with pytest.raises(BudgetExhausted) as caught:
        bench.scrape()
    assert dt.datetime.fromisoformat(caught.value.facts["resets_at"]) > dt.datetime.now(dt.UTC)


def test_a_name_of_the_date_that_nothing_explains_is_told_and_one_of_another_date_is_not(bench):
    def listed(name: str) -> Page:
        file = {"id": "1", "name": name, "md5Checksum": "0" * 32, "modifiedTime": "2025-01-08T09:30:00Z", "size": "9"}
        body = json.dumps({"incompleteSearch": False, "files": [file]}).encode()
        return Page(Request("/drive/v3/files", cursor='{"again":true}'), 1, 200, {}, body, NOW, 0.1)

    day = Partition.day(DAY, "America/New_York")
    with pytest.raises(SourceContractError, match="which is unknown"):
        bench.scraper.inspect(day, listed(f"[{DAY}]-0022400477-BOS@MIA (1).csv"))
    for harmless in ("[2025-01-01]-x.csv", f"[{DAY}]-combined-stats.csv", f"copy of [{DAY}]-0022400477-BOS@MIA.csv"):
        with pytest.raises(NothingPublished):
            bench.scraper.inspect(day, listed(harmless))


def test_a_postponed_game_has_its_file_on_the_date_on_which_it_was_played(bench):
    game = GAMES[0]
    bench.upstream.calendar = Calendar((Change(kind="postpone", game=game.nba_id),))
    assert bench.scrape().counts["nba_bigdataball_games"] == len(GAMES) - 1
    later = next(one for one in bench.upstream.calendar.games_in(2024) if one.nba_id == game.nba_id)
    assert any(game.nba_id in name for name in bench.scrape(later.date).versions)


def test_changes_name_the_files_that_are_new_or_other_since(bench):
    bench.upstream.revise(GAMES[0].nba_id)
    request: Request | None = bench.scraper.changes_request(NOW - dt.timedelta(hours=1))
    assert request
    found = bench.scraper.changes(bench.client.fetch(request))
    (name,) = found.versions[str(DAY)]
    assert GAMES[0].nba_id in name
    assert found.newest == NOW
    assert found.next_request is None


# -- CSV ----------------------------------------------------------------------------------------------------------

GOOD = b'id,name\r\n1,Ann\r\n2,"O\'Hara, ""Bo"""\r\n'


def test_the_sample_has_the_columns_that_the_scraper_wants():
    assert tuple(COLUMNS.split()) == FILE_COLUMNS
    assert len(FILE_COLUMNS) == 44


def test_rows_are_found_by_name_in_any_order_quoted_or_not():
    wanted = [{"id": "1", "name": "Ann"}, {"id": "2", "name": 'O\'Hara, "Bo"'}]
    assert parsed_csv(GOOD, ("name", "id")) == wanted
    assert parsed_csv(b"\xef\xbb\xbf" + GOOD.replace(b"\r", b""), ("id",)) == wanted
    assert parsed_csv(GOOD.rstrip(), ("id",)) == wanted


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", SourceUnavailable),
        (b"\r\n", SourceUnavailable),
        (GOOD[:-3], SourceUnavailable),
        (b"id,name\r\n1,Ann\r\n2", SourceUnavailable),
        (b"id,name\r\n1,M\xc3", SourceUnavailable),
        (b"id,name\r\n1\r\n2,Bo\r\n", SourceContractError),
        (b"id,name\r\n1\r\n2\r\n", SourceContractError),
        (b"id,name\r\n1,Ann\r\nERROR: canceling statement due to statement timeout\r\n", SourceUnavailable),
        (b"id,name\r\n1,Ann\r\n<html>\r\n<h1>502</h1>\r\n</html>\r\n", SourceUnavailable),
        (b"id,name\r\n1,Ann,7\r\n", SourceContractError),
        (b"id,name\r\n1,Ann\r\nid,name\r\n2,Bo\r\n", SourceContractError),
        (b"id,name\r\n1,Ann\r\n\xef\xbb\xbf2,Bo\r\n", SourceContractError),
        (b"id,title\r\n1,Ann\r\n", SourceContractError),
        (b"id,name,id\r\n1,Ann,1\r\n", SourceContractError),
        (b'id,name\r\n1,"Ann"x\r\n', SourceContractError),
        (b"id,name\r\n1,\xff\xfe\r\n", SourceContractError),
        (b"id,name\r\n1,Ann\0\0\0\0\r\n", SourceUnavailable),
        (b"id,name\r\n1,Ann\r\n" + bytes(500), SourceUnavailable),
        (b"id;name\r\n1;Ann\r\n", SourceContractError),
        (b'{"error": "no"}', SourceContractError),
        ("id,name\r\n1,Ann\r\n".encode("utf-16")[:-1], SourceUnavailable),
    ],
)
def test_a_file_that_is_cut_or_none_is_refused(body: bytes, expected: type[PipelineError]):
    with pytest.raises(expected):
        parsed_csv(body, ("id", "name"))


def test_a_file_whose_plays_share_an_id_is_not_whole(bench):
    columns = COLUMNS.split()
    play: dict[str, Any] = {**dict.fromkeys(columns, "1"), "date": str(DAY), "game_id": str(int(GAMES[0].nba_id))}
    body = "\r\n".join([",".join(columns), *[",".join(play[name] for name in columns)] * 2]).encode()
    from scrapers.platforms.google_drive import File

    name = f"[{DAY}]-{GAMES[0].nba_id}-AAA@BBB.csv"
    with pytest.raises(CoverageLow):
        bench.scraper.counts(File("1", name, "", "", 0), body)
