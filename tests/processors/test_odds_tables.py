"""Tables of The Odds API against a made-up season that says itself what they must hold."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

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


def test_a_recorded_answer_gives_exactly_its_prices() -> None:
    if not FIXTURES.exists():
        pytest.skip("the recordings are not part of the repository")
    body = (FIXTURES / "historical_event_odds_lines.json").read_bytes()
    lines: list[dict[str, Any]] = []
    of, partition = processor("odds_history"), Partition.day(dt.date(2024, 1, 24), "America/New_York")
    admission = Admission(partition, of.tables, lambda _, line: lines.append(json.loads(line)))
    params = (("date", "2024-01-25T03:56:00Z"), ("oddsFormat", "decimal"))
    for table, raw in of.rows(partition, LandedPage("/", params, 200, {}, NOW, body)):
        admission.take(table, raw)
    assert admission.rejects == []
    told = [
        (book["key"], market["key"], line["name"], str(line["price"]), str(line["point"]))
        for book in json.loads(body)["data"]["bookmakers"]
        for market in book["markets"]
        for line in market["outcomes"]
    ]
    columns = ("bookmaker", "market", "outcome")
    found = [(*(line[name] for name in columns), str(line["price"]), str(line["point_text"])) for line in lines]
    assert found == told
    assert {line["odds_format"] for line in lines} == {"decimal"}
