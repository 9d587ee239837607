"""Five years of landed dates: loaded again with few jobs and without one call, and equal to a clean run."""

from __future__ import annotations

import datetime as dt
import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from deployments.local.inbox.server import InboxClient
from deployments.local.upstreams.season import late_game
from flows.ledger.ledger import Ledger, Verdict
from flows.parameters import Mode
from flows.run.run import Run
from flows.wiring import Services
from processors.table_budget import STOP_AT, StoredTableBudget
from processors.warehouse import BigQueryWarehouse, Dataset
from scrapers.base import Page, Request
from scrapers.partition import partitions_between
from scrapers.scrape import ScrapeContext, scrape

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
FIRST, LAST, DAYS = "2019-01-01", "2023-12-31", 1_826
GAMES, LINES = "nba_bdl_games", "nba_bdl_player_stats"
PLAYERS = 5
MOST_JOBS = 10


class FiveASide:
    """The source: one game on every date, with the fewest players that a game can have."""

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        game = late_game(dt.date.fromisoformat(dict(request.params)["date"]))
        for side in ("home_team", "visitor_team"):
            del game[side]["players"][PLAYERS:]
        return Page(request, page_number, 200, {}, json.dumps({"data": [game]}).encode(), utc_now(), 0.01)


@dataclass
class Outside:
    """Every connection that was tried to something that is no emulator of this test."""

    allowed_ports: set[int]
    tried: list[Any] = field(default_factory=list)

    def check(self, address: Any) -> None:
        is_local = isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1", "localhost")
        if not (is_local and address[1] in self.allowed_ports):
            self.tried.append(address)
            raise OSError(f"a connection to {address} was tried")


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, bigquery_endpoint: str, inbox: InboxClient, place: Place) -> Outside:
    """From here on nothing but the local BigQuery and the mail server can be reached."""
    found = Outside({int(urlsplit(bigquery_endpoint).port or 0), inbox.smtp_port})
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded(self: socket.socket, address: Any) -> None:
        found.check(address)
        connect(self, address)

    def resolved(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        found.check((host, int(port or 0)))
        return resolve(host, port, *rest, **named)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return found


@pytest.fixture
def landed(memory_bucket: MemoryObjectStore, monkeypatch: pytest.MonkeyPatch, place: Place) -> Services:
    """1,826 dates landed by an earlier run, and a warehouse that takes ten modifications of a table a day."""
    monkeypatch.setattr(Services, "store", memory_bucket)
    services = Services(place.services.settings)
    few = StoredTableBudget(memory_bucket, modifications_per_day=int(MOST_JOBS / STOP_AT) + 1)
    warehouse = BigQueryWarehouse(Dataset("p", services.settings.dataset, "US"), budget=few)
    monkeypatch.setattr(Services, "warehouse", warehouse)
    ledger = Ledger(memory_bucket, SOURCE)
    scraper = services.source_kit(SOURCE).scraper
    for partition in partitions_between(dt.date.fromisoformat(FIRST), dt.date.fromisoformat(LAST), scraper.zone):
        manifest = scrape(
            partition,
            ScrapeContext(
                scraper=scraper,
                client=FiveASide(),  # type: ignore[arg-type]
                landing=services.landing,
                backfill_id="bf-0",
                code_version="test",
            ),
        )
        ledger.advance(
            partition.key,
            Verdict.LANDED,
            "bf-0",
            utc_now(),
            attempt=manifest.attempt,
            attempts=1,
            content_hash=manifest.content_hash,
            landed=manifest.counts,
        )
    place.services = services
    return services


def content(services: Services) -> list[list[dict[str, Any]]]:
    """Every row of both tables, in order."""
    return [
        services.warehouse.query(f"SELECT TO_JSON_STRING(t) AS j FROM {services.warehouse.name_of(table)} t ORDER BY j")
        for table in (GAMES, LINES)
    ]


def load_jobs(run: Run, table: str) -> list[str]:
    return [receipt.tables[table].load_job_id for receipt in run.tally.receipts]


@pytest.mark.long
def test_five_years_of_landed_dates_are_loaded_with_few_jobs_and_loaded_again_by_another_parser_without_a_call(
    place: Place, landed: Services, outside: Outside, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, facts = ran(FIRST, LAST)
    assert facts.verdict == "COMPLETE"
    expected = content(landed)
    assert [len(rows) for rows in expected] == [DAYS, DAYS * 2 * PLAYERS]
    assert len({json.loads(row["j"])["game_date"] for row in expected[0]}) == DAYS

    # What an older parser could have left: rows that are wrong, rows that are missing, rows that are too many.
    games, lines = landed.warehouse.name_of(GAMES), landed.warehouse.name_of(LINES)
    for damage in (
        f"UPDATE {games} SET season = 1900 WHERE game_date < DATE '2020-01-01'",
        f"DELETE FROM {lines} WHERE game_date BETWEEN DATE '2020-01-01' AND DATE '2021-12-31'",
        f"INSERT INTO {games} SELECT * REPLACE('stale' AS game_key) FROM {games} WHERE game_date = DATE '2022-05-05'",
    ):
        landed.warehouse.query(damage)
    assert content(landed) != expected
    monkeypatch.setattr(type(landed.source_kit(SOURCE).processor), "version", 99)
    again, facts = ran(FIRST, LAST, mode=Mode.REPROCESS)
    assert facts.verdict == "COMPLETE"
    assert (again.tally.calls, again.client) == (0, None)
    assert content(landed) == expected
    assert outside.tried == []
    assert place.upstream.calls.report()["total"] == 0
    for run in (clean, again):
        for table in (GAMES, LINES):
            assert 0 < len(load_jobs(run, table)) <= MOST_JOBS / 2
    assert {receipt.processor_version for receipt in again.tally.receipts} == {99}
