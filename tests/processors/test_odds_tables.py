"""Tables of The Odds API against a made-up season that says itself what they must hold."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deployments.local.upstreams import odds_truth as truth
from deployments.local.upstreams.odds_upstream import ODDS_KEY, OddsUpstream
from processors.admission import Admission
from processors.base import LandedPage
from processors.registry import processor
from processors.sources.odds_history import OddsHistory as OddsHistoryProcessor
from processors.sources.odds_history import lines_of
from processors.views import views_of
from scrapers.base import SourceAccess
from scrapers.client import SourceClient
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape
from scrapers.sources.odds_history import OddsHistory

NOW = dt.datetime(2025, 1, 20, 12, tzinfo=dt.UTC)
DAY = Partition.day(dt.date(2025, 1, 3), "America/New_York")
MARGIN, STEP = dt.timedelta(minutes=10), dt.timedelta(hours=6)
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "odds_api"


@pytest.fixture(scope="module")
def upstream() -> Iterator[OddsUpstream]:
    with OddsUpstream(now=NOW, per_second=0) as server:
        yield server


class Spreads(OddsHistory):
    """A second purchase, as its two files would declare it."""

    source, title, tables = "odds_spreads", "The Odds API: NBA spreads", ("odds_spreads_lines",)
    markets = ("spreads",)


class SpreadLines(OddsHistoryProcessor):
    source, tables = "odds_spreads", (lines_of("spreads", 1),)


def loaded(bench: Any, upstream: OddsUpstream, name: str) -> None:
    source = Spreads() if name == Spreads.source else scraper(name)
    bench.processor = SpreadLines() if name == Spreads.source else processor(name)
    with SourceClient(source, SourceAccess(upstream.url, {"odds_api_key": ODDS_KEY}), Budget(Rate())) as client:
        context = ScrapeContext(
            scraper=source,
            client=client,
            landing=bench.landing,
            backfill_id="b1",
            code_version="0",
            now=lambda: NOW,
        )
        manifest = scrape(DAY, context)
    receipt = bench.process(manifest)
    assert receipt.failures == receipt.unknown_fields == receipt.absent_fields == {}
    assert all(one.is_ok for one in bench.verify(manifest, receipt=receipt).values())


def same(bench: Any, table: str, expected: list[dict[str, Any]], **renamed: str) -> None:
    """Column by column of the truth; ``renamed`` are columns of the table that it calls otherwise."""
    columns = list(expected[0])
    found = bench.rows(table, *(renamed.get(column, column) for column in columns))
    wanted = [tuple("" if value is None and column in renamed else value for column, value in row.items())
              for row in expected]  # fmt: skip
    assert sorted(map(repr, _plain(found))) == sorted(map(repr, _plain(wanted)))


def _plain(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(value.normalize() if isinstance(value, Decimal) else value for value in row) for row in rows]


def test_the_events_of_a_date_equal_the_truth_snapshot_by_snapshot(bench: Any, upstream: OddsUpstream) -> None:
    loaded(bench, upstream, "odds_events")
    asks = [truth.Ask(DAY.begins_at + STEP * number) for number in (1, 2, 3)]
    same(bench, "odds_snapshots", truth.snapshots(upstream.world, asks, NOW))
    same(bench, "odds_events", truth.events(upstream.world, asks, NOW))


def test_prices_equal_the_truth_with_their_format_and_another_market_bought_later_joins_them(
    bench: Any, upstream: OddsUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning = truth.events(upstream.world, [truth.Ask(DAY.begins_at + STEP)], NOW)
    times = {event["event_id"]: event["commence_time"] for event in morning}
    games = {one: at - MARGIN for one, at in times.items() if DAY.begins_at <= at < DAY.ends_at}

    def asked(market: str) -> list[truth.Ask]:
        return [truth.Ask(at, (market,), event_id=one) for one, at in games.items()]

    def lines(*markets: str) -> list[dict[str, Any]]:
        return truth.lines(upstream.world, [ask for market in markets for ask in asked(market)], NOW)

    loaded(bench, upstream, "odds_history")
    same(bench, "odds_lines", lines("h2h"), player="description")
    both = (*processor("odds_history").tables, *SpreadLines.tables)
    monkeypatch.setattr("processors.process.views_filled_by", lambda _: views_of(both))
    loaded(bench, upstream, "odds_spreads")
    same(bench, "odds_h2h_lines", lines("h2h"), player="description")
    same(bench, "odds_lines", lines("h2h", "spreads"), player="description")


# -- recorded answers of the real API ------------------------------------------------------------------------


def recorded(file: str) -> Any:
    """Prices that were recorded live are one snapshot here, because their envelope is that of the past."""
    if not FIXTURES.exists():
        pytest.skip("the recordings are not part of the repository")
    document = json.loads((FIXTURES / file).read_text())
    if isinstance(document, dict) and "timestamp" in document:
        return document
    return {"timestamp": "2025-01-03T23:55:00Z", "previous_timestamp": None, "next_timestamp": None, "data": document}


def admitted(source: str, document: Any, odds_format: str = "decimal") -> dict[str, list[dict[str, Any]]]:
    """What the processor makes of a page, by table; nothing of it is rejected or unknown."""
    of = processor(source)
    rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in of.tables}
    admission = Admission(DAY, of.tables, lambda table: lambda line: rows[table].append(json.loads(line)))
    params = (("date", "2025-01-03T23:56:00Z"), ("oddsFormat", odds_format))
    page = LandedPage("/", params, 200, {}, NOW, json.dumps(document).encode())
    for table, raw in of.rows(DAY, page):
        admission.take(table, raw)
    assert admission.rejects == []
    assert dict(admission.unknown_fields) == {}
    return rows


@pytest.mark.parametrize(
    ("file", "odds_format"),
    [
        ("historical_event_odds_lines.json", "decimal"),
        ("event_odds_player_points_american.json", "american"),
        ("odds_nba_2022-11-22_american.json", "american"),
    ],
)
def test_recorded_answers_give_exactly_their_prices_in_their_format(file: str, odds_format: str) -> None:
    document = recorded(file)
    events = document["data"] if isinstance(document["data"], list) else [document["data"]]
    assert events
    for event in events:
        found = admitted("odds_history", {**document, "data": event}, odds_format)["odds_h2h_lines"]
        told = [
            (book["key"], market["key"], line["name"], line.get("description") or "", line.get("point"), line["price"])
            for book in event["bookmakers"]
            for market in book["markets"]
            for line in market["outcomes"]
        ]
        assert len({(line[0], line[1], line[2], line[3], str(line[4])) for line in told}) == len(told) > 0
        names = ("bookmaker", "market", "outcome", "description")
        assert [tuple(line[name] for name in names) for line in found] == [line[:4] for line in told]
        points = [None if line["point"] is None else Decimal(line["point"]) for line in found]
        assert points == [None if line[4] is None else Decimal(str(line[4])) for line in told]
        assert [Decimal(line["price"]) for line in found] == [Decimal(str(line[5])) for line in told]
        assert {line["odds_format"] for line in found} == {odds_format}


@pytest.mark.parametrize("file", ["historical_events_a.json", "historical_events_b.json"])
def test_recorded_lists_give_one_snapshot_and_exactly_its_events(file: str) -> None:
    document = recorded(file)
    found = admitted("odds_events", document)
    (snapshot,) = found["odds_snapshots"]
    assert snapshot["events"] == len(document["data"]) > 0
    names = ("event_id", "home_team", "away_team")
    assert [tuple(row[name] for name in names) for row in found["odds_events"]] == [
        (event["id"], event["home_team"], event["away_team"]) for event in document["data"]
    ]
    eastern = ZoneInfo("America/New_York")
    dates = [
        str(dt.datetime.fromisoformat(one["commence_time"]).astimezone(eastern).date()) for one in document["data"]
    ]
    assert [row["game_date"] for row in found["odds_events"]] == dates
